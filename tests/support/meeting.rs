//! Meetings with running functions: `tests/fixtures/worker.py` comes to a port of the test's (header `x-meet` and its like), says which
//! process it is, and waits for a word. So a test knows that a call runs, and decides when it ends.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::http::within;

/// A place where functions come to.
pub struct Meeting {
    listener: TcpListener,
    pub port: u16,
}

/// A function that waits for a word.
pub struct Guest {
    stream: BufReader<TcpStream>,
    /// Its process; 0 if it did not say.
    pub pid: u32,
}

impl Meeting {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// Waits for a function that tells its process id.
    pub async fn guest(&self) -> Guest {
        let mut stream = BufReader::new(self.arrival().await);
        let mut line = String::new();
        within("a word from a function", stream.read_line(&mut line)).await.unwrap();
        Guest { stream, pid: line.trim().parse().unwrap() }
    }

    /// Waits for somebody who says nothing (header `x-child`).
    pub async fn silent_guest(&self) -> Guest {
        Guest { stream: BufReader::new(self.arrival().await), pid: 0 }
    }

    /// Lets everybody go on who comes from now on.
    pub fn release_all(self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = self.listener.accept().await {
                let _ = stream.write_all(b".").await;
            }
        })
    }

    async fn arrival(&self) -> TcpStream {
        within("a function at the meeting", self.listener.accept()).await.unwrap().0
    }
}

impl Guest {
    /// Lets the function go on.
    pub async fn release(mut self) {
        self.stream.write_all(b".").await.unwrap();
    }

    /// Waits until the process is dead: its sockets are closed then.
    pub async fn died(mut self) {
        let mut rest = Vec::new();
        // A killed process may leave a reset behind.
        let _ = within("the death of a function", self.stream.read_to_end(&mut rest)).await;
    }
}
