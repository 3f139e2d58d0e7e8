import static java.nio.charset.StandardCharsets.UTF_8;

import io.nats.client.Connection;
import io.nats.client.ConnectionListener.Events;
import io.nats.client.Dispatcher;
import io.nats.client.JetStreamStatusException;
import io.nats.client.Nats;
import io.nats.client.Options;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** The client of the scene {@code rolling}, with jnats; the head of it says what this prints. */
public class Rolling {
  static final Map<Events, String> WORDS =
      Map.of(Events.DISCONNECTED, "down", Events.RESUBSCRIBED, "up", Events.CLOSED, "closed");

  public static void main(String[] args) throws Exception {
    Connection listener = connected("listener");
    Dispatcher dispatcher =
        listener.createDispatcher(
            msg -> System.out.println("got " + new String(msg.getData(), UTF_8)));
    dispatcher.subscribe("rolling.java");
    listener.flush(Duration.ofSeconds(5));
    Connection publisher = connected("publisher");
    for (int number = 1; ; number++) {
      try {
        publisher.publish("rolling.java", Integer.toString(number).getBytes(UTF_8));
        publisher.request("rolling.nobody", null).get(1, TimeUnit.SECONDS);
      } catch (ExecutionException e) {
        if (e.getCause() instanceof JetStreamStatusException) {
          System.out.println("sent " + number);
        }
      } catch (Exception ignored) {
        // Nobody has answered in time.
      }
      Thread.sleep(10);
    }
  }

  static Connection connected(String who) throws Exception {
    Options options =
        new Options.Builder()
            .server(System.getenv(who.toUpperCase() + "_URL"))
            .maxReconnects(-1)
            .reconnectWait(Duration.ofMillis(100))
            .reportNoResponders()
            .connectionListener(
                (connection, event) -> {
                  if (WORDS.containsKey(event)) {
                    System.out.println(WORDS.get(event) + " " + who);
                  }
                })
            .build();
    return Nats.connect(options);
  }
}
