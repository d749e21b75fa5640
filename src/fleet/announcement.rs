//! How a runner tells who started it that it listens, and where: one line of JSON on its standard output.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::model::IncarnationId;

/// A runner listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// This life of the runner.
    pub incarnation: IncarnationId,
    /// Where balancers reach it.
    pub address: SocketAddr,
}

/// Why there is no announcement.
#[derive(Debug, thiserror::Error)]
pub enum AnnouncementError {
    /// The line could not be read.
    #[error("could not read the runner's announcement: {0}")]
    Read(#[from] std::io::Error),
    /// The output ended before.
    #[error("the runner closed its output before it announced where it listens")]
    Closed,
    /// The line says something else.
    #[error("the runner announced `{line}`: expected {{\"incarnation\":\"…\",\"address\":\"127.0.0.1:…\"}} on one line")]
    Malformed {
        /// What it said, shortened.
        line: String,
    },
}

/// No announcement is longer.
const LONGEST_LINE: u64 = 1_024;

impl Announcement {
    /// The line, with its line break.
    pub fn to_line(&self) -> String {
        // Two texts always have a JSON form.
        format!("{}\n", serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads the line. Dropping the future loses what was read of it.
    ///
    /// # Errors
    /// The first line is no announcement.
    pub async fn read(output: impl AsyncBufRead + Unpin) -> Result<Self, AnnouncementError> {
        let mut line = Vec::new();
        output.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(AnnouncementError::Closed);
        }
        serde_json::from_slice(&line).map_err(|_| {
            let line = String::from_utf8_lossy(&line).trim().chars().take(120).collect();
            AnnouncementError::Malformed { line }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_announcement_is_read_as_it_was_written() {
        let announcement =
            Announcement { incarnation: IncarnationId::from_parts(1, 2), address: SocketAddr::from(([127, 0, 0, 1], 9001)) };
        let line = format!("{}more", announcement.to_line());
        assert_eq!(Announcement::read(line.as_bytes()).await.unwrap(), announcement);
    }

    #[tokio::test]
    async fn what_is_no_announcement_is_told() {
        let error = async |output: &[u8]| Announcement::read(output).await.unwrap_err().to_string();
        assert_eq!(error(b"").await, "the runner closed its output before it announced where it listens");
        assert_eq!(
            error(b"hello\n").await,
            "the runner announced `hello`: expected {\"incarnation\":\"…\",\"address\":\"127.0.0.1:…\"} on one line"
        );
        assert!(error(&[b'x'; 10_000]).await.len() < 300);
    }
}
