// The interop scenarios with jnats. Environment: NATS_URL, RESTART (a shell command).

import static java.nio.charset.StandardCharsets.UTF_8;

import io.nats.client.Connection;
import io.nats.client.ConnectionListener;
import io.nats.client.Dispatcher;
import io.nats.client.Message;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.Subscription;
import io.nats.client.impl.Headers;
import io.nats.client.impl.NatsMessage;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

class Interop {
  static final String URL = System.getenv("NATS_URL");
  static final int LIMIT = 65536;
  static final Duration TIMEOUT = Duration.ofSeconds(5);

  interface Scenario {
    void run(Connection nc) throws Exception;
  }

  public static void main(String[] args) {
    attempt("pub_sub", Interop::pubSub);
    attempt("wildcard", Interop::wildcard);
    attempt("queue_group", Interop::queueGroup);
    attempt("request_reply", Interop::requestReply);
    attempt("no_responders", Interop::noResponders);
    attempt("headers", Interop::headers);
    attempt("max_payload", Interop::maxPayload);
    attempt("reconnect", Interop::reconnect);
    attempt("drain", Interop::drain);
    System.exit(0);
  }

  /** Runs one scenario on its own connection and ends the program when it throws. */
  static void attempt(String name, Scenario scenario) {
    CompletableFuture<Void> done =
        CompletableFuture.runAsync(
            () -> {
              try (Connection nc = Nats.connect(URL)) {
                scenario.run(nc);
              } catch (Exception e) {
                throw new IllegalStateException(e);
              }
            });
    try {
      done.get(30, TimeUnit.SECONDS);
    } catch (Exception e) {
      System.out.println("FAILED java " + name + ": " + e);
      e.printStackTrace();
      System.exit(1);
    }
    System.out.println("ok java " + name);
  }

  static void equal(Object got, Object want) {
    if (!got.equals(want)) {
      throw new IllegalStateException("got " + got + ", want " + want);
    }
  }

  static Message next(Subscription sub) throws InterruptedException {
    Message msg = sub.nextMessage(TIMEOUT);
    if (msg == null) {
      throw new IllegalStateException("no message on " + sub.getSubject() + " for 5 s");
    }
    return msg;
  }

  static String text(Message msg) {
    return new String(msg.getData(), UTF_8);
  }

  static void pubSub(Connection nc) throws Exception {
    Subscription sub = nc.subscribe("java.plain");
    nc.publish("java.plain", "hello".getBytes(UTF_8));
    nc.publish("java.plain", null);
    equal(text(next(sub)), "hello");
    equal(next(sub).getData().length, 0);
  }

  static void wildcard(Connection nc) throws Exception {
    Subscription star = nc.subscribe("java.wild.*.end");
    Subscription rest = nc.subscribe("java.wild.>");
    for (String subject : List.of("java.wild.a.end", "java.wild.a.b.end", "java.wild")) {
      nc.publish(subject, null);
    }
    nc.flush(TIMEOUT);
    equal(next(star).getSubject(), "java.wild.a.end");
    equal(next(rest).getSubject(), "java.wild.a.end");
    equal(next(rest).getSubject(), "java.wild.a.b.end");
    equal(star.getPendingMessageCount() + rest.getPendingMessageCount(), 0L);
  }

  static void queueGroup(Connection nc) throws Exception {
    List<Subscription> members = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      members.add(nc.subscribe("java.queue", "workers"));
    }
    for (int i = 0; i < 300; i++) {
      nc.publish("java.queue", null);
    }
    nc.flush(TIMEOUT);
    long total = 0;
    for (Subscription member : members) {
      long share = member.getPendingMessageCount();
      if (share < 30) {
        throw new IllegalStateException("one member of three got " + share + " of 300");
      }
      total += share;
    }
    equal(total, 300L);
  }

  static void requestReply(Connection nc) throws Exception {
    Dispatcher service =
        nc.createDispatcher(
            msg -> nc.publish(msg.getReplyTo(), text(msg).toUpperCase().getBytes(UTF_8)));
    service.subscribe("java.service");
    List<CompletableFuture<Message>> replies = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      replies.add(nc.request("java.service", ("r" + i).getBytes(UTF_8)));
    }
    for (int i = 0; i < 50; i++) {
      equal(text(replies.get(i).get(5, TimeUnit.SECONDS)), "R" + i);
    }
  }

  static void noResponders(Connection nc) throws Exception {
    try {
      nc.requestWithTimeout("java.nobody", null, TIMEOUT).get(5, TimeUnit.SECONDS);
    } catch (java.util.concurrent.CancellationException | ExecutionException e) {
      return;
    }
    throw new IllegalStateException("a request nobody listens to was answered");
  }

  static void headers(Connection nc) throws Exception {
    Subscription sub = nc.subscribe("java.headers");
    Headers headers = new Headers().add("Trace", "a b", "c");
    nc.publish(
        NatsMessage.builder().subject("java.headers").headers(headers).data("body").build());
    Message msg = next(sub);
    equal(msg.getHeaders().get("Trace"), List.of("a b", "c"));
    equal(text(msg), "body");
  }

  static void maxPayload(Connection nc) throws Exception {
    equal(nc.getMaxPayload(), (long) LIMIT);
    Subscription sub = nc.subscribe("java.large");
    nc.publish("java.large", new byte[LIMIT]);
    equal(next(sub).getData().length, LIMIT);
    try {
      nc.publish("java.large", new byte[LIMIT + 1]);
    } catch (IllegalArgumentException e) {
      return;
    }
    throw new IllegalStateException("a payload above the limit was accepted");
  }

  static void reconnect(Connection ignored) throws Exception {
    // RESUBSCRIBED, not RECONNECTED: only then the subscriptions are back on the server.
    CountDownLatch back = new CountDownLatch(1);
    ConnectionListener listener =
        (connection, event) -> {
          if (event == ConnectionListener.Events.RESUBSCRIBED) {
            back.countDown();
          }
        };
    Options options =
        new Options.Builder()
            .server(URL)
            .maxReconnects(-1)
            .reconnectWait(Duration.ofMillis(100))
            .connectionListener(listener)
            .build();
    try (Connection nc = Nats.connect(options)) {
      Subscription sub = nc.subscribe("java.again");
      nc.flush(TIMEOUT);
      ProcessBuilder restart = new ProcessBuilder("sh", "-c", System.getenv("RESTART"));
      equal(restart.inheritIO().start().waitFor(), 0);
      equal(back.await(15, TimeUnit.SECONDS), true);
      nc.publish("java.again", "still here".getBytes(UTF_8));
      equal(text(next(sub)), "still here");
    }
  }

  static void drain(Connection nc) throws Exception {
    AtomicInteger seen = new AtomicInteger();
    Connection other = Nats.connect(URL);
    Dispatcher slow =
        other.createDispatcher(
            msg -> {
              Thread.sleep(1);
              seen.incrementAndGet();
            });
    slow.subscribe("java.drain");
    other.flush(TIMEOUT);
    for (int i = 0; i < 100; i++) {
      nc.publish("java.drain", null);
    }
    nc.flush(TIMEOUT);
    equal(other.drain(TIMEOUT).get(6, TimeUnit.SECONDS), true);
    equal(other.getStatus(), Connection.Status.CLOSED);
    equal(seen.get(), 100);
  }
}
