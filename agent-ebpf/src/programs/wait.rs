//! Waiting with epoll: the mark of an event loop, and the end of its turn.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use crate::{unit, walk::Task};

macro_rules! wait {
    ($name:ident) => {
        #[tracepoint]
        pub(crate) fn $name(_ctx: TracePointContext) -> u32 {
            unit::wait(Task::current());
            0
        }
    };
}

wait!(enter_epoll_wait);
wait!(enter_epoll_pwait);
wait!(enter_epoll_pwait2);
