//! A library for LD_PRELOAD that makes the file system, or the start of threads, fail at a chosen
//! call.
//!
//! It counts the calls of `write` to regular files, `fsync`, `fdatasync`, `rename` and `ftruncate`
//! in the process. At call number `FAULT_AT` (from 1) it does what `FAULT` says:
//!
//! - `kill`: the process is killed before the call, as by SIGKILL or the loss of power.
//! - `full`: the disk is full from then on: that write writes half of its bytes, and every later
//!   call fails with ENOSPC.
//! - `threads`: files are left alone; from thread number `FAULT_AT` on, none can be started
//!   (EAGAIN), as at the limit of processes.
//!
//! When the process ends normally, the number of calls is written to the file `FAULT_COUNT`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

type Write = unsafe extern "C" fn(c_int, *const c_void, usize) -> isize;
type OnFile = unsafe extern "C" fn(c_int) -> c_int;
type Rename = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;
type Truncate = unsafe extern "C" fn(c_int, i64) -> c_int;
type Create =
    unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn getpid() -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn lseek(file: c_int, offset: i64, whence: c_int) -> i64;
    fn __errno_location() -> *mut c_int;
    fn atexit(function: extern "C" fn()) -> c_int;
}

const NEXT: *mut c_void = -1isize as *mut c_void;
const SIGKILL: c_int = 9;
const EAGAIN: c_int = 11;
const ENOSPC: c_int = 28;
const SEEK_CUR: c_int = 1;

static CALLS: AtomicU64 = AtomicU64::new(0);
static THREADS: AtomicU64 = AtomicU64::new(0);

struct Plan {
    at: u64,
    kill: bool,
    threads: bool,
}

/// What a call does.
enum Fate {
    Succeed,
    Half,
    Fail,
}

extern "C" fn report() {
    if let Ok(path) = std::env::var("FAULT_COUNT") {
        let _ = std::fs::write(path, CALLS.load(Ordering::SeqCst).to_string());
    }
}

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let at = std::env::var("FAULT_AT").ok();
        let fault = std::env::var("FAULT").unwrap_or_default();
        // SAFETY: the function lives as long as the process.
        unsafe { atexit(report) };
        Plan {
            at: at.and_then(|at| at.parse().ok()).unwrap_or(u64::MAX),
            kill: fault == "kill",
            threads: fault == "threads",
        }
    })
}

fn fate() -> Fate {
    let plan = plan();
    let call = CALLS.fetch_add(1, Ordering::SeqCst) + 1;
    if plan.threads || call < plan.at {
        return Fate::Succeed;
    }
    if plan.kill {
        // SAFETY: plain system calls.
        unsafe { kill(getpid(), SIGKILL) };
    }
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *__errno_location() = ENOSPC };
    match call == plan.at {
        true => Fate::Half,
        false => Fate::Fail,
    }
}

/// The function that this library hides.
unsafe fn hidden(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string.
    unsafe { dlsym(NEXT, name.as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the hidden function has this type, and the arguments are the caller's.
    unsafe {
        let next: Write = std::mem::transmute(hidden(c"write"));
        // Pipes and terminals cannot be sought.
        if lseek(file, 0, SEEK_CUR) < 0 {
            return next(file, bytes, count);
        }
        match fate() {
            Fate::Succeed => next(file, bytes, count),
            Fate::Half if count > 1 => next(file, bytes, count / 2),
            Fate::Half | Fate::Fail => -1,
        }
    }
}

macro_rules! failing {
    ($name:ident, $text:literal, $kind:ty, ($($argument:ident: $type:ty),+)) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),+) -> c_int {
            match fate() {
                // SAFETY: as in `write`.
                Fate::Succeed => unsafe {
                    let next: $kind = std::mem::transmute(hidden($text));
                    next($($argument),+)
                },
                Fate::Half | Fate::Fail => -1,
            }
        }
    };
}

failing!(fsync, c"fsync", OnFile, (file: c_int));
failing!(fdatasync, c"fdatasync", OnFile, (file: c_int));
failing!(rename, c"rename", Rename, (from: *const c_char, to: *const c_char));
failing!(ftruncate64, c"ftruncate64", Truncate, (file: c_int, length: i64));

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    start: *const c_void,
    argument: *mut c_void,
) -> c_int {
    let plan = plan();
    if plan.threads && THREADS.fetch_add(1, Ordering::SeqCst) + 1 >= plan.at {
        return EAGAIN;
    }
    // SAFETY: as in `write`.
    unsafe {
        let next: Create = std::mem::transmute(hidden(c"pthread_create"));
        next(thread, attributes, start, argument)
    }
}
