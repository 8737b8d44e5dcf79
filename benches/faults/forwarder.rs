//! A TCP forwarder between the servers and Postgres, whose connections can be cut.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

pub(crate) struct Forwarder {
    pub(crate) address: SocketAddr,
    /// Both ends of each connection.
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Forwarder {
    /// Starts a forwarder to an address.
    pub(crate) fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let forwarder = Self { address: listener.local_addr()?, ends: Arc::default() };
        let ends = Arc::clone(&forwarder.ends);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // If the target is down, the client sees a closed connection.
                let _ = forward(client, target, &ends);
            }
        });
        Ok(forwarder)
    }

    /// Closes all connections. New ones are forwarded.
    pub(crate) fn cut(&self) {
        for end in self.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn forward(client: TcpStream, target: SocketAddr, ends: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    ends.lock().unwrap_or_else(PoisonError::into_inner).extend([client.try_clone()?, server.try_clone()?]);
    pump(client.try_clone()?, server.try_clone()?);
    pump(server, client);
    Ok(())
}

/// Copies one direction until either end is closed, then closes the other.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
