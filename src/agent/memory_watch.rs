//! The watch over the memory of processes that run calls.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::calls::CallTable;
use super::process::resident_bytes;
use super::run_error::RunError;
use crate::model::ByteSize;

/// Looks at every running call each `interval`, and kills what uses more than its function may. Ends with `ending`.
///
/// It is a watch, not a wall: between two looks a process can use more. What must never be exceeded has to be set in the operating
/// system, for the agent as a whole.
pub(crate) async fn watch_memory(calls: &CallTable, interval: Duration, ending: &CancellationToken) {
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        for control in calls.running() {
            let limit = control.memory();
            if limit.bytes() == 0 {
                continue;
            }
            match resident_bytes(control.process().id()).map(ByteSize) {
                Some(used) if used > limit => {
                    control.kill(RunError::OutOfMemory { used, limit });
                }
                _ => {}
            }
        }
    }
}
