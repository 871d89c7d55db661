//! What a process is: told once, when it first matters.

use core::ffi::c_void;
use core::hint::black_box;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use redis_trace_common::member::{
    CGROUP_KN, CSS_SET_CGROUP, DENTRY_NAME, DENTRY_PARENT, FILE_DENTRY, FILE_MNT, KN_NAME, KN_PARENT, MM_EXE_FILE,
    MNT_ROOT, MOUNT_MNT, MOUNT_PARENT, MOUNT_POINT, TASK_CGROUPS, TASK_LEADER, TASK_MM, TASK_PARENT, TASK_START,
    TASK_TGID,
};
use redis_trace_common::record::{self, PATH_LEN, Who};

use crate::emit::reserve_roomy;
use crate::kernel::{container, fill_task, place, read};
use crate::maps::{INTRODUCED, WATCHED};

/// The longest name of a directory entry and its NUL: `NAME_MAX`, include/uapi/linux/limits.h.
const NAME_ROOM: usize = 256;
/// Directories and mounts that are gone through at most.
const DEPTH: usize = 32;

/// `BPF_NOEXIST`, include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// Keeps an eye on a task's process until it ends, and tells what it is.
#[inline(always)]
pub(crate) fn watch(task: u64) {
    keep_watched(task);
    introduce(task);
}

/// Keeps an eye on a task's process until it ends.
#[inline(always)]
pub(crate) fn keep_watched(task: u64) {
    // Not in place of what is there: a family stays one.
    let _ = WATCHED.insert(&read(task, TASK_TGID), &record::WATCHED, BPF_NOEXIST);
}

/// Tells what the process of a task is, once; nothing at address 0. A global function, of numbers alone, so that the verifier goes
/// through it once for each probe and not for each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn introduce(task: u64) -> u64 {
    let (pid, start) = (read(task, TASK_TGID), read(read(task, TASK_LEADER), TASK_START));
    if pid == 0 || unsafe { INTRODUCED.get(&pid) }.is_some_and(|known| *known == start) {
        return 0;
    }
    // A path is written until it has passed its end: the first into the second, the second into the slack.
    let Some(mut slot) = reserve_roomy::<Who, NAME_ROOM>() else { return 0 };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).parent).write(read(read(task, TASK_PARENT), TASK_TGID));
        (&raw mut (*record).reserved).write(0);
        let exe = fill_exe((&raw mut (*record).exe).cast(), task);
        (&raw mut (*record).exe_length).write(exe);
        let cgroup = fill_cgroup((&raw mut (*record).cgroup).cast(), task);
        (&raw mut (*record).cgroup_length).write(cgroup);
    }
    slot.submit();
    let _ = INTRODUCED.insert(&pid, &start, 0);
    0
}

/// Appends a name and its NUL; the length of what there is then. Without a branch, or the verifier would look at every name that
/// follows once for each way through those before it.
#[inline(always)]
unsafe fn append(path: *mut u8, length: u32, name: u64) -> u32 {
    // Below the path's length already: for the verifier.
    let length = black_box(length) & (PATH_LEN as u32 - 1);
    let to = unsafe { path.add(length as usize) }.cast::<c_void>();
    let written = black_box(unsafe { bpf_probe_read_kernel_str(to, NAME_ROOM as u32, name as *const c_void) } as i32);
    // Negative for a name that cannot be read.
    length + (written & !black_box(written >> 31)) as u32
}

/// Writes the path of a task's executable: prepend_path(), fs/d_path.c, but for its root, so that it is the host's path.
#[inline(always)]
unsafe fn fill_exe(path: *mut u8, task: u64) -> u32 {
    let file = read(read(task, TASK_MM), MM_EXE_FILE);
    let (mut mnt, mut dentry) = (read(file, FILE_MNT), read(file, FILE_DENTRY));
    let mut length = 0;
    for _ in 0..DEPTH {
        if dentry == 0 || length >= PATH_LEN as u32 {
            break;
        }
        if dentry == read(mnt, MNT_ROOT) {
            let mount = container(mnt, MOUNT_MNT);
            let parent = read(mount, MOUNT_PARENT);
            if parent == mount || parent == 0 {
                // The root: an empty name.
                let end = black_box(length) & (PATH_LEN as u32 - 1);
                unsafe { path.add(end as usize).write(0) };
                return end + 1;
            }
            dentry = read(mount, MOUNT_POINT);
            mnt = place(parent, MOUNT_MNT);
        } else {
            length = unsafe { append(path, length, read(dentry, DENTRY_NAME)) };
            dentry = read(dentry, DENTRY_PARENT);
        }
    }
    length
}

/// Writes the path of a task's cgroup in the unified hierarchy, whose root has an empty name: kernfs_path_from_node().
#[inline(always)]
unsafe fn fill_cgroup(path: *mut u8, task: u64) -> u32 {
    let mut kn = read(read(read(task, TASK_CGROUPS), CSS_SET_CGROUP), CGROUP_KN);
    let mut length = 0;
    for _ in 0..DEPTH {
        if kn == 0 || length >= PATH_LEN as u32 {
            break;
        }
        length = unsafe { append(path, length, read(kn, KN_NAME)) };
        kn = read(kn, KN_PARENT);
    }
    length
}
