//! Connections, of whichever kind, until shutdown.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use crate::host::Host;

/// Serves each connection in a task of its own, as many at a time as the host has slots.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    host: Arc<Host>,
    serve: impl Fn(TcpStream, Arc<Host>) -> F,
) {
    loop {
        let slots = Arc::clone(&host.slots);
        let accepted = tokio::select! {
            () = host.shutdown.cancelled() => return,
            accepted = async {
                let slot = slots.acquire_owned().await.ok()?;
                Some((listener.accept().await.ok()?.0, slot))
            } => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let (shutdown, served) = (host.shutdown.clone(), serve(stream, Arc::clone(&host)));
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = served => {}
            }
            drop(slot);
        });
    }
}
