//! The status of an agent: no bytes make the reader panic, and what was read says the same when it is written.

use runpool::protocol::AgentStatus;

pub fn hold(bytes: &[u8]) {
    let Ok(status) = serde_json::from_slice::<AgentStatus>(bytes) else { return };
    let written = serde_json::to_vec(&status).expect("a status can always be written");
    let again: AgentStatus = serde_json::from_slice(&written).expect("what was written is a status");
    assert_eq!(again, status);
}
