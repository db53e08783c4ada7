//! The listener behind a guest's `AWS_ENDPOINT_URL`: connections are handed out unread, a few at a time.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::ids::{FunctionId, InstanceId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::ports::{SdkConnection, SdkDoor, SdkSlot};

/// SDK connections that one instance may hold; more wait to be accepted.
pub(crate) const SDK_CONNECTIONS_MAX: usize = 64;
/// After a failed accept (out of descriptors, mostly): neither give up nor spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Set once, when the gateway stands.
pub(crate) type Door = Arc<OnceLock<Arc<dyn SdkDoor>>>;

/// One instance's SDK endpoint.
pub(crate) struct SdkListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    door: Door,
    function: FunctionId,
    instance: InstanceId,
}

impl SdkListener {
    pub(crate) fn new(listener: OwnedFd, door: Door, function: FunctionId, instance: InstanceId) -> io::Result<Self> {
        let slots = Arc::new(Semaphore::new(SDK_CONNECTIONS_MAX));
        Ok(Self { listener: tcp_listener(listener)?, slots, door, function, instance })
    }

    /// Accepts for as long as it is polled. Cancel-safe.
    pub(crate) async fn serve(&mut self) -> Infallible {
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return std::future::pending().await };
            let stream = accept(&self.listener).await;
            if let Some(door) = self.door.get() {
                let (function, instance) = (self.function.clone(), self.instance);
                door.connection(SdkConnection { function, instance, stream, slot: SdkSlot(slot) });
            }
        }
    }
}

pub(crate) fn tcp_listener(listener: OwnedFd) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection, without the delay that gathers small packets.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // A connection that its peer has already reset refuses the option; reading from it tells.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}
