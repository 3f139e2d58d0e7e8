// The client of the scene `rolling`, with libnats; the head of `rolling` says what it prints.

#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

static void check(natsStatus status) {
  if (status == NATS_OK) return;
  fprintf(stderr, "%s\n", natsStatus_GetText(status));
  exit(1);
}

static void down(natsConnection *nc, void *who) { (void)nc, printf("down %s\n", (char *)who); }
static void up(natsConnection *nc, void *who) { (void)nc, printf("up %s\n", (char *)who); }
static void closed(natsConnection *nc, void *who) { (void)nc, printf("closed %s\n", (char *)who); }

static natsConnection *connected(char *who, const char *url) {
  natsConnection *nc = NULL;
  natsOptions *opts = NULL;
  check(natsOptions_Create(&opts));
  check(natsOptions_SetURL(opts, getenv(url)));
  check(natsOptions_SetMaxReconnect(opts, 1000));
  check(natsOptions_SetReconnectWait(opts, 100));
  check(natsOptions_SetDisconnectedCB(opts, down, who));
  check(natsOptions_SetReconnectedCB(opts, up, who));
  check(natsOptions_SetClosedCB(opts, closed, who));
  check(natsConnection_Connect(&nc, opts));
  natsOptions_Destroy(opts);
  return nc;
}

static void got(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure) {
  (void)nc, (void)sub, (void)closure;
  printf("got %.*s\n", natsMsg_GetDataLength(msg), natsMsg_GetData(msg));
  natsMsg_Destroy(msg);
}

int main(void) {
  natsSubscription *sub = NULL;
  natsMsg *reply = NULL;
  setvbuf(stdout, NULL, _IOLBF, 0);
  natsConnection *listener = connected("listener", "LISTENER_URL");
  check(natsConnection_Subscribe(&sub, listener, "rolling.c", got, NULL));
  check(natsConnection_Flush(listener));
  natsConnection *publisher = connected("publisher", "PUBLISHER_URL");
  for (int number = 1;; number++) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    natsConnection_PublishString(publisher, "rolling.c", text);
    if (natsConnection_RequestString(&reply, publisher, "rolling.nobody", "", 1000) ==
        NATS_NO_RESPONDERS)
      printf("sent %d\n", number);
    nats_Sleep(10);
  }
}
