// The interop scenarios with libnats (cnats). Environment: NATS_URL, RESTART (a shell command).

#include <nats/nats.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIMIT = 65536, TIMEOUT_MS = 5000 };

static const char *scenario_name;

// Ends the program: a scenario cannot go on without what it asked for.
static void fail(int line, const char *what, natsStatus status) {
  printf("FAILED c %s: line %d: %s (%s)\n", scenario_name, line, what, natsStatus_GetText(status));
  exit(1);
}

#define OK(call)                                          \
  do {                                                    \
    natsStatus status_ = (call);                          \
    if (status_ != NATS_OK) fail(__LINE__, #call, status_); \
  } while (0)
#define HOLDS(condition)                                      \
  do {                                                        \
    if (!(condition)) fail(__LINE__, #condition, NATS_ERR); \
  } while (0)

static natsConnection *connected(natsOptions *opts) {
  natsConnection *nc = NULL;
  natsOptions *own = NULL;
  if (opts == NULL) {
    OK(natsOptions_Create(&own));
    opts = own;
  }
  OK(natsOptions_SetURL(opts, getenv("NATS_URL")));
  OK(natsConnection_Connect(&nc, opts));
  natsOptions_Destroy(own);
  return nc;
}

static natsSubscription *subscribed(natsConnection *nc, const char *subject) {
  natsSubscription *sub = NULL;
  OK(natsConnection_SubscribeSync(&sub, nc, subject));
  return sub;
}

static void expect(natsSubscription *sub, const char *subject, const char *data) {
  natsMsg *msg = NULL;
  OK(natsSubscription_NextMsg(&msg, sub, TIMEOUT_MS));
  HOLDS(strcmp(natsMsg_GetSubject(msg), subject) == 0);
  HOLDS(natsMsg_GetDataLength(msg) == (int)strlen(data));
  HOLDS(memcmp(natsMsg_GetData(msg), data, strlen(data)) == 0);
  natsMsg_Destroy(msg);
}

static int64_t queued(natsSubscription *sub) {
  uint64_t count = 0;
  OK(natsSubscription_QueuedMsgs(sub, &count));
  return (int64_t)count;
}

static void pub_sub(natsConnection *nc) {
  natsSubscription *sub = subscribed(nc, "c.plain");
  OK(natsConnection_PublishString(nc, "c.plain", "hello"));
  OK(natsConnection_Publish(nc, "c.plain", NULL, 0));
  expect(sub, "c.plain", "hello");
  expect(sub, "c.plain", "");
  natsSubscription_Destroy(sub);
}

static void wildcard(natsConnection *nc) {
  natsSubscription *star = subscribed(nc, "c.wild.*.end");
  natsSubscription *rest = subscribed(nc, "c.wild.>");
  OK(natsConnection_PublishString(nc, "c.wild.a.end", "1"));
  OK(natsConnection_PublishString(nc, "c.wild.a.b.end", "2"));
  OK(natsConnection_PublishString(nc, "c.wild", "3"));
  OK(natsConnection_FlushTimeout(nc, TIMEOUT_MS));
  HOLDS(queued(star) == 1 && queued(rest) == 2);
  expect(star, "c.wild.a.end", "1");
  expect(rest, "c.wild.a.end", "1");
  expect(rest, "c.wild.a.b.end", "2");
  natsSubscription_Destroy(star);
  natsSubscription_Destroy(rest);
}

static void queue_group(natsConnection *nc) {
  natsSubscription *members[3];
  int64_t total = 0;
  for (int i = 0; i < 3; i++)
    OK(natsConnection_QueueSubscribeSync(&members[i], nc, "c.queue", "workers"));
  for (int i = 0; i < 300; i++) OK(natsConnection_Publish(nc, "c.queue", NULL, 0));
  OK(natsConnection_FlushTimeout(nc, TIMEOUT_MS));
  for (int i = 0; i < 3; i++) {
    HOLDS(queued(members[i]) > 30);
    total += queued(members[i]);
    natsSubscription_Destroy(members[i]);
  }
  HOLDS(total == 300);
}

static void answer(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
  (void)sub, (void)closure;
  OK(natsConnection_Publish(nc, natsMsg_GetReply(msg), natsMsg_GetData(msg),
                            natsMsg_GetDataLength(msg)));
  natsMsg_Destroy(msg);
}

static void request_reply(natsConnection *nc) {
  natsSubscription *service = NULL;
  OK(natsConnection_Subscribe(&service, nc, "c.service", answer, NULL));
  for (int i = 0; i < 50; i++) {
    natsMsg *reply = NULL;
    char text[16];
    snprintf(text, sizeof text, "r%d", i);
    OK(natsConnection_RequestString(&reply, nc, "c.service", text, TIMEOUT_MS));
    HOLDS(strcmp(natsMsg_GetData(reply), text) == 0);
    natsMsg_Destroy(reply);
  }
  natsSubscription_Destroy(service);
}

static void no_responders(natsConnection *nc) {
  natsMsg *reply = NULL;
  natsStatus status = natsConnection_RequestString(&reply, nc, "c.nobody", "", TIMEOUT_MS);
  if (status != NATS_NO_RESPONDERS) fail(__LINE__, "a request nobody listens to", status);
}

static void headers(natsConnection *nc) {
  natsSubscription *sub = subscribed(nc, "c.headers");
  natsMsg *msg = NULL;
  const char **values = NULL;
  int count = 0;
  OK(natsMsg_Create(&msg, "c.headers", NULL, "body", 4));
  OK(natsMsgHeader_Add(msg, "Trace", "a b"));
  OK(natsMsgHeader_Add(msg, "Trace", "c"));
  OK(natsConnection_PublishMsg(nc, msg));
  natsMsg_Destroy(msg);
  OK(natsSubscription_NextMsg(&msg, sub, TIMEOUT_MS));
  OK(natsMsgHeader_Values(msg, "Trace", &values, &count));
  HOLDS(count == 2 && strcmp(values[0], "a b") == 0 && strcmp(values[1], "c") == 0);
  HOLDS(natsMsg_GetDataLength(msg) == 4 && memcmp(natsMsg_GetData(msg), "body", 4) == 0);
  free(values);
  natsMsg_Destroy(msg);
  natsSubscription_Destroy(sub);
}

static void max_payload(natsConnection *nc) {
  static char large[LIMIT + 1];
  natsSubscription *sub = subscribed(nc, "c.large");
  natsMsg *msg = NULL;
  HOLDS(natsConnection_GetMaxPayload(nc) == LIMIT);
  OK(natsConnection_Publish(nc, "c.large", large, LIMIT));
  OK(natsSubscription_NextMsg(&msg, sub, TIMEOUT_MS));
  HOLDS(natsMsg_GetDataLength(msg) == LIMIT);
  natsMsg_Destroy(msg);
  HOLDS(natsConnection_Publish(nc, "c.large", large, LIMIT + 1) == NATS_MAX_PAYLOAD);
  natsSubscription_Destroy(sub);
}

static void set(natsConnection *nc, void *flag) {
  (void)nc;
  __atomic_store_n((bool *)flag, true, __ATOMIC_SEQ_CST);
}

static void await(bool *flag) {
  for (int i = 0; i < 3000 && !__atomic_load_n(flag, __ATOMIC_SEQ_CST); i++) nats_Sleep(5);
  HOLDS(__atomic_load_n(flag, __ATOMIC_SEQ_CST));
}

static void reconnect(natsConnection *ignored) {
  static bool back;
  natsOptions *opts = NULL;
  (void)ignored;
  OK(natsOptions_Create(&opts));
  OK(natsOptions_SetMaxReconnect(opts, 1000));
  OK(natsOptions_SetReconnectWait(opts, 100));
  OK(natsOptions_SetReconnectedCB(opts, set, &back));
  natsConnection *nc = connected(opts);
  natsSubscription *sub = subscribed(nc, "c.again");
  OK(natsConnection_FlushTimeout(nc, TIMEOUT_MS));
  HOLDS(system(getenv("RESTART")) == 0);
  await(&back);
  OK(natsConnection_PublishString(nc, "c.again", "still here"));
  expect(sub, "c.again", "still here");
  natsSubscription_Destroy(sub);
  natsConnection_Destroy(nc);
  natsOptions_Destroy(opts);
}

static void count(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *seen) {
  (void)nc, (void)sub;
  nats_Sleep(1);
  __atomic_add_fetch((int *)seen, 1, __ATOMIC_SEQ_CST);
  natsMsg_Destroy(msg);
}

static void drain(natsConnection *nc) {
  static bool closed;
  static int seen;
  natsOptions *opts = NULL;
  natsSubscription *sub = NULL;
  OK(natsOptions_Create(&opts));
  OK(natsOptions_SetClosedCB(opts, set, &closed));
  natsConnection *other = connected(opts);
  OK(natsConnection_Subscribe(&sub, other, "c.drain", count, &seen));
  OK(natsConnection_FlushTimeout(other, TIMEOUT_MS));
  for (int i = 0; i < 100; i++) OK(natsConnection_Publish(nc, "c.drain", NULL, 0));
  OK(natsConnection_FlushTimeout(nc, TIMEOUT_MS));
  OK(natsConnection_Drain(other));
  await(&closed);
  HOLDS(__atomic_load_n(&seen, __ATOMIC_SEQ_CST) == 100);
  natsSubscription_Destroy(sub);
  natsConnection_Destroy(other);
  natsOptions_Destroy(opts);
}

int main(void) {
  static const struct {
    const char *name;
    void (*run)(natsConnection *nc);
  } scenarios[] = {
      {"pub_sub", pub_sub},         {"wildcard", wildcard},
      {"queue_group", queue_group}, {"request_reply", request_reply},
      {"no_responders", no_responders}, {"headers", headers},
      {"max_payload", max_payload}, {"reconnect", reconnect},
      {"drain", drain},
  };
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
    scenario_name = scenarios[i].name;
    alarm(30);
    natsConnection *nc = connected(NULL);
    scenarios[i].run(nc);
    natsConnection_Destroy(nc);
    printf("ok c %s\n", scenario_name);
  }
  nats_Close();
  return 0;
}
