//! Lame duck mode: a server that is about to stop takes no more clients, tells those that it has,
//! and closes them one by one, so that the other servers do not get all of them at once.
//!
//! Messages, interest and monitoring go on until the last client is gone.
//! nats: server/server.go `lameDuckMode`, `LameDuckShutdown`

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::base::closed_reason::ClosedReason;
use crate::net::drive::Shared;
use crate::registry::events::Event;
use crate::server::Server;

/// The longest pause between two clients.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Server {
    /// Stops the server in lame duck mode, which lets clients move to other servers of the cluster
    /// in their own time. The ports for clients close, INFO tells clients and other servers of it,
    /// and behind the [grace period](crate::Options::lame_duck_grace_period) the clients that are
    /// left are closed, spread over the rest of
    /// [`lame_duck_duration`](crate::Options::lame_duck_duration). Returns when the server has
    /// stopped; meanwhile [`shutdown`](Server::shutdown) ends it at once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use dialtone::{LineOptions, Options, Server};
    ///
    /// let mut options = Options::default();
    /// options.lame_duck_grace_period = Duration::from_millis(10);
    /// let server = Server::builder().options(options).no_listener().start().await?;
    /// let client = server.client(&LineOptions::default()).await?;
    /// server.lame_duck().await;
    /// assert!(client.info().ldm);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lame_duck(&self) {
        if self.enter_lame_duck().await {
            tokio::select! {
                () = self.close_clients() => self.shutdown().await,
                () = self.stopped() => {}
            }
        }
        self.stopped().await;
    }

    pub(super) fn is_lame_duck(&self) -> bool {
        self.shared.registry.is_lame_duck()
    }

    /// False if the mode was entered before, or the server has been stopped.
    async fn enter_lame_duck(&self) -> bool {
        let mut listeners = self.reloader.listeners.lock().await;
        if self.is_lame_duck() || self.runtime.lock().is_none() {
            return false;
        }
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        let Shared { registry, mesh, .. } = &*self.shared;
        registry.note(Event::LameDuck, &registry.settings());
        listeners.close_to_clients().await;
        if let Some(mesh) = mesh.as_ref().filter(|_| registry.client_count() > 0) {
            mesh.enter_lame_duck();
        }
        registry.enter_lame_duck();
        true
    }

    /// Closes all clients. Those that have left by the end of the grace period are not waited for.
    ///
    /// nats-differs: there, the pauses between clients are also made for those that have left.
    async fn close_clients(&self) {
        let Shared { registry, .. } = &*self.shared;
        if registry.client_count() == 0 {
            return;
        }
        let settings = registry.settings();
        let grace_period = settings.options.lame_duck_grace_period;
        sleep(grace_period).await;
        tracing::info!("Closing existing clients");
        let mut clients = registry.clients();
        // Those of one program often came together.
        fastrand::shuffle(&mut clients);
        let time = settings.options.lame_duck_duration.saturating_sub(grace_period);
        let count = clients.len();
        // A time to sleep until, because a pause may be shorter than the clock can tell.
        let mut due = Instant::now();
        while let Some(client) = clients.pop() {
            if client.is_closed() {
                continue;
            }
            sleep_until(due).await;
            client.close(ClosedReason::ServerShutdown, false);
            due += pause(time, count);
        }
    }
}

/// A time between two of `count` clients that are closed within `time`: at random half of what each
/// may have, or more.
fn pause(time: Duration, count: usize) -> Duration {
    let most = (time / u32::try_from(count).unwrap_or(u32::MAX)).min(PAUSE_MAX);
    most.mul_f64(fastrand::f64()).max(most / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_fit_into_the_time_and_are_no_longer_than_a_second() {
        let time = Duration::from_secs(110);
        for (count, most) in [(1, PAUSE_MAX), (110, PAUSE_MAX), (1100, PAUSE_MAX / 10)] {
            for _ in 0..100 {
                let pause = pause(time, count);
                assert!((most / 2..=most).contains(&pause), "{pause:?} of {most:?}");
            }
        }
    }
}
