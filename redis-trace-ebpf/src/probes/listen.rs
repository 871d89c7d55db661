//! Listeners that come and go.

use redis_trace_common::member::{SK_ACK_BACKLOG, SK_MAX_ACK_BACKLOG, TASK_FLAGS};
use redis_trace_common::record::{ListenDown, ListenUp};

use super::who;
use crate::emit::reserve;
use crate::kernel::{PF_EXITING, current, exit_code, fill_local, fill_socket, fill_task, read};

/// listen(2) on a TCP socket: inet_csk_listen_start(), in the caller's context. It may still fail to get the port, and then
/// the socket closes again at once.
#[inline(always)]
pub(crate) fn up(sk: u64) {
    let task = current();
    who::watch(task);
    let Some(mut slot) = reserve::<ListenUp>() else { return };
    let record = slot.record();
    unsafe {
        fill_socket(&raw mut (*record).socket, sk);
        fill_local(&raw mut (*record).socket, sk);
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).backlog).write(read(sk, SK_MAX_ACK_BACKLOG));
        (&raw mut (*record).reserved).write(0);
    }
    slot.submit();
}

/// close(2), shutdown(2), or the exit of the last that held it: __tcp_close(), tcp_disconnect().
#[inline(always)]
pub(crate) fn down(sk: u64) {
    let task = current();
    let exiting = read(task, TASK_FLAGS) & PF_EXITING != 0;
    let Some(mut slot) = reserve::<ListenDown>() else { return };
    let record = slot.record();
    unsafe {
        fill_socket(&raw mut (*record).socket, sk);
        fill_local(&raw mut (*record).socket, sk);
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).exiting).write(u32::from(exiting));
        (&raw mut (*record).exit_code).write(if exiting { exit_code(task) } else { 0 });
        // They are still there: __tcp_close() changes the state before it calls inet_csk_listen_stop().
        (&raw mut (*record).queued).write(read(sk, SK_ACK_BACKLOG));
        (&raw mut (*record).backlog).write(read(sk, SK_MAX_ACK_BACKLOG));
    }
    slot.submit();
}
