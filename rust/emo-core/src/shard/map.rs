//! A read-only mapping whose loss does not end the process.
//!
//! Reading a mapped page that the file no longer backs raises SIGBUS. A handler, scoped to our own
//! mappings, puts zero pages in place from there on and counts the loss; the scan then ends in a
//! clean error. Signals for other addresses go to the handler that was there before.
#![allow(
    unsafe_code,
    reason = "mapping is one of the two named places; each block says why it is sound"
)]

use std::fs::File;

/// A whole file as read-only memory, registered with the SIGBUS guard.
#[derive(Debug)]
pub struct Mapping {
    map: memmap2::Mmap,
    #[cfg(unix)]
    slot: &'static guard::Slot,
}

impl Mapping {
    /// Map `file`, or give `None` where the system, the guard or an empty file does not allow it.
    #[must_use]
    pub fn new(file: &File, bytes: u64) -> Option<Self> {
        if bytes == 0 || bytes > isize::MAX as u64 {
            return None;
        }
        // SAFETY: the map is read-only and private to this value. Another process may change the
        // bytes under us: the readers take them as plain integers, for which every pattern is
        // valid, and chunk hashes are there for those who must know. Truncation raises SIGBUS,
        // which the guard turns into zero pages and a count that `lost_pages` reports.
        let map = unsafe { memmap2::MmapOptions::new().len(bytes as usize).map(file) }.ok()?;
        #[cfg(unix)]
        {
            let slot = guard::claim(map.as_ptr() as usize, map.len())?;
            Some(Self { map, slot })
        }
        #[cfg(not(unix))]
        Some(Self { map })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Whether any page had to be replaced by zeros.
    #[must_use]
    pub fn lost_pages(&self) -> bool {
        #[cfg(unix)]
        return self.slot.lost();
        #[cfg(not(unix))]
        false
    }

    /// Say that these bytes will be read through; a plain hint.
    ///
    /// Pages that are not yet in memory then come in huge, which costs no time on the disk and makes
    /// the next mapping of the file several times cheaper.
    pub fn expect_scan(&self, begin: usize, end: usize) {
        #[cfg(target_os = "linux")]
        {
            let page = begin & !(PAGE - 1);
            let _ =
                self.map.advise_range(memmap2::Advice::HugePage, page, end.saturating_sub(page));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (begin, end);
    }

    /// Ask the system to fetch these bytes from the disk meanwhile; a plain hint.
    pub fn will_need(&self, begin: usize, end: usize) {
        #[cfg(target_os = "linux")]
        {
            let page = begin & !(PAGE - 1);
            let bytes = end.saturating_sub(page);
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, page, bytes);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (begin, end);
    }

    /// Give pages back to the page cache, so that few stay resident; a plain hint.
    ///
    /// Those go that lie a while before `begin..end`: ranges that follow each other leave no gap. With
    /// `last`, all up to `end` go. Pages go many huge ones at a time: half of one would cost the rest,
    /// which others may be reading, its place too, and every time all processors must be told.
    pub fn release(&self, begin: usize, end: usize, last: bool) {
        #[cfg(target_os = "linux")]
        {
            let base = self.map.as_ptr() as usize;
            let before = |offset: usize| {
                let address = base + offset.saturating_sub(BEHIND);
                (address & !(GIVEN_BACK - 1)).saturating_sub(base)
            };
            let (begin, end) = (before(begin), if last { end & !(PAGE - 1) } else { before(end) });
            if begin < end {
                // SAFETY: the map is shared and read-only, so its pages are only dropped from our
                // tables and come back from the file when they are touched again.
                let _ = unsafe {
                    let advice = memmap2::UncheckedAdvice::DontNeed;
                    self.map.unchecked_advise_range(advice, begin, end - begin)
                };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (begin, end, last);
    }
}

/// Bytes that stay mapped behind a scan: more than its workers are apart.
#[cfg(target_os = "linux")]
const BEHIND: usize = 32 << 20;
/// Bytes that are given back at a time: eight huge pages of the usual systems.
#[cfg(target_os = "linux")]
const GIVEN_BACK: usize = 16 << 20;
/// Smallest page of the supported systems; larger pages make the hints void, not wrong.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// Whether the file lies on a file system that is served from elsewhere, where a mapping may stall
/// or vanish.
#[must_use]
pub fn is_remote(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // NFS, SMB, SMB2, CIFS, FUSE, 9P, Ceph, Lustre, AFS, GPFS, BeeGFS.
        const REMOTE: [u32; 11] = [
            0x6969,
            0x517b,
            0xfe53_4d42,
            0xff53_4d42,
            0x6573_5546,
            0x0102_1997,
            0x00c3_6400,
            0x0bd0_0bd0,
            0x5346_414f,
            0x4750_4653,
            0x1983_0326,
        ];
        // SAFETY: a plain system call on an open file, filling a struct of its own.
        unsafe {
            let mut found = std::mem::zeroed::<libc::statfs>();
            libc::fstatfs(file.as_raw_fd(), &raw mut found) == 0
                && REMOTE.contains(&(found.f_type as u32))
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

#[cfg(unix)]
impl Drop for Mapping {
    fn drop(&mut self) {
        self.slot.release();
    }
}

#[cfg(unix)]
mod guard {
    use std::mem::{MaybeUninit, zeroed};
    use std::ptr::null_mut;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

    /// Address range of one live mapping; `begin` 0 means free, 1 means being filled.
    #[derive(Debug)]
    pub(super) struct Slot {
        begin: AtomicUsize,
        end: AtomicUsize,
        losses: AtomicUsize,
    }

    const N_SLOTS: usize = 1024;
    static SLOTS: [Slot; N_SLOTS] = [const {
        Slot { begin: AtomicUsize::new(0), end: AtomicUsize::new(0), losses: AtomicUsize::new(0) }
    }; N_SLOTS];
    static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());
    static INSTALLING: Mutex<()> = Mutex::new(());
    /// Set once a fault that is not ours was handed on: what is raised next must not come back.
    static FATAL: AtomicBool = AtomicBool::new(false);

    impl Slot {
        pub(super) fn lost(&self) -> bool {
            self.losses.load(Ordering::Acquire) > 0
        }

        pub(super) fn release(&self) {
            self.begin.store(0, Ordering::Release);
        }
    }

    /// Register a range; `None` when every slot is taken or the handler cannot be set.
    pub(super) fn claim(begin: usize, bytes: usize) -> Option<&'static Slot> {
        if !install() {
            return None;
        }
        let free = |slot: &&Slot| {
            slot.begin.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let slot = SLOTS.iter().find(free)?;
        slot.losses.store(0, Ordering::Relaxed);
        slot.end.store(begin + bytes, Ordering::Release);
        slot.begin.store(begin, Ordering::Release);
        Some(slot)
    }

    /// Put our handler in front, keeping the one that was there; again if another took its place.
    fn install() -> bool {
        let _lock = INSTALLING.lock();
        // SAFETY: plain calls of sigaction with valid pointers; the previous action is leaked on
        // purpose, so that the handler may read it at any time.
        unsafe {
            let mut current = MaybeUninit::<libc::sigaction>::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), current.as_mut_ptr()) != 0 {
                return false;
            }
            let current = current.assume_init();
            if current.sa_sigaction == handler_address() {
                return true;
            }
            PREVIOUS.store(Box::into_raw(Box::new(current)), Ordering::Release);
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = handler_address();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, null_mut()) == 0
        }
    }

    fn handler_address() -> usize {
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        handler as usize
    }

    /// Replace the lost rest of one of our mappings by zeros, or hand the signal on.
    extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the system passes valid pointers to a handler set with SA_SIGINFO. Only atomics
        // and system calls are used here, which are allowed inside a handler.
        unsafe {
            if (*info).si_code > 0 && cover((*info).si_addr() as usize) {
                return;
            }
            hand_on(signal, info, context);
        }
    }

    /// Map zero pages from `address` to the end of the range of ours that holds it.
    unsafe fn cover(address: usize) -> bool {
        for slot in &SLOTS {
            let begin = slot.begin.load(Ordering::Acquire);
            let end = slot.end.load(Ordering::Acquire);
            if begin <= 1 || address < begin || address >= end {
                continue;
            }
            // SAFETY: the range belongs to a live mapping of ours, which stays mapped and readable;
            // the value of the lost bytes is never trusted, because the loss is counted first.
            unsafe {
                let page = address & !(libc::sysconf(libc::_SC_PAGESIZE) as usize - 1);
                slot.losses.fetch_add(1, Ordering::AcqRel);
                let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED;
                let at = page as *mut libc::c_void;
                return libc::mmap(at, end - page, libc::PROT_READ, flags, -1, 0)
                    != libc::MAP_FAILED;
            }
        }
        false
    }

    /// Call the handler that was there before ours, or let the signal do what it does by default.
    unsafe fn hand_on(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let previous = PREVIOUS.load(Ordering::Acquire);
        // SAFETY: `previous` is null or a leaked action that sigaction filled; its address is
        // called with the signature that its flags name.
        unsafe {
            let handler = if previous.is_null() { libc::SIG_DFL } else { (*previous).sa_sigaction };
            let sent = (*info).si_code <= 0;
            let again = FATAL.fetch_or(!sent, Ordering::AcqRel) && sent;
            if handler == libc::SIG_DFL || handler == libc::SIG_IGN || again {
                libc::signal(signal, libc::SIG_DFL);
                if sent {
                    libc::raise(signal);
                }
            } else if (*previous).sa_flags & libc::SA_SIGINFO != 0 {
                type Full = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
                std::mem::transmute::<usize, Full>(handler)(signal, info, context);
            } else {
                std::mem::transmute::<usize, extern "C" fn(i32)>(handler)(signal);
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn truncation_is_counted_and_survived() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let map = Mapping::new(&file, 1 << 20).unwrap();
        assert_eq!(map.bytes()[0], 7);
        file.set_len(8192).unwrap();
        let sum: u64 = map.bytes().iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 7 * 8192);
        assert!(map.lost_pages());
    }

    #[test]
    fn empty_files_are_not_mapped() {
        assert!(Mapping::new(&tempfile::tempfile().unwrap(), 0).is_none());
    }
}
