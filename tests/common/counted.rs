//! Counts what a process asks of a card's driver, whoever asks it (candle and cuBLAS too), by NVIDIA's CUPTI.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, OnceLock};

/// By name: kernels that were started, and calls of the driver that copy.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Calls {
    pub kernels: BTreeMap<String, usize>,
    pub copies: BTreeMap<String, usize>,
}

impl Calls {
    /// How many kernels, but for those in which cuBLAS adds the parts of products that it divides by their size; and how many
    /// copies.
    pub fn count(&self) -> [usize; 2] {
        let adds = |name: &str| ["splitKreduce", "split_k_kernel"].iter().any(|part| name.contains(part));
        let kernels = self.kernels.iter().filter(|(name, _)| !adds(name));
        [kernels.map(|(_, n)| n).sum(), self.copies.values().sum()]
    }
}

static CALLS: Mutex<Option<Calls>> = Mutex::new(None);

/// The head of `CUpti_CallbackData`.
#[repr(C)]
struct Call {
    /// 0 where a call begins.
    site: u32,
    function: *const c_char,
    parameters: *const c_void,
    returned: *mut c_void,
    kernel: *const c_char,
}

fn text(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: CUPTI's names end with a zero and outlive the call.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

extern "C" fn called(_: *mut c_void, _: u32, _: u32, call: *const Call) {
    // SAFETY: in the domain of the driver's functions that is what CUPTI passes.
    let call = unsafe { &*call };
    let function = text(call.function);
    let mut calls = CALLS.lock().unwrap();
    let Some(calls) = calls.as_mut().filter(|_| call.site == 0) else { return };
    if function.starts_with("cuLaunch") || function.starts_with("cuGraphLaunch") {
        *calls.kernels.entry(text(call.kernel)).or_default() += 1;
    } else if function.starts_with("cuMemcpy") {
        *calls.copies.entry(function).or_default() += 1;
    }
}

const DRIVER: u32 = 1;

type Subscribe = unsafe extern "C" fn(
    *mut *mut c_void,
    extern "C" fn(*mut c_void, u32, u32, *const Call),
    *mut c_void,
) -> u32;
type Enable = unsafe extern "C" fn(u32, *mut c_void, u32) -> u32;

/// Is CUPTI here, and listening?
fn listens() -> bool {
    static LISTENS: OnceLock<bool> = OnceLock::new();
    *LISTENS.get_or_init(|| {
        let library = [c"libcupti.so", c"libcupti.so.13", c"libcupti.so.12"]
            .into_iter()
            // SAFETY: loading a library of the toolkit, with a name that ends with a zero.
            .map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) })
            .find(|library| !library.is_null());
        let Some(library) = library else { return false };
        // SAFETY: as above.
        let function = |name: &CStr| unsafe { libc::dlsym(library, name.as_ptr()) };
        let (subscribe, enable) = (function(c"cuptiSubscribe"), function(c"cuptiEnableDomain"));
        if subscribe.is_null() || enable.is_null() {
            return false;
        }
        let mut subscriber = std::ptr::null_mut();
        // SAFETY: the functions have these types in every version of CUPTI.
        unsafe {
            let subscribe = std::mem::transmute::<*mut c_void, Subscribe>(subscribe);
            let enable = std::mem::transmute::<*mut c_void, Enable>(enable);
            subscribe(&raw mut subscriber, called, std::ptr::null_mut()) == 0
                && enable(1, subscriber, DRIVER) == 0
        }
    })
}

/// What the driver is asked while `work` runs; nothing where there is no CUPTI.
pub fn calls(work: impl FnOnce()) -> Option<Calls> {
    if !listens() {
        eprintln!("no CUPTI: kernels of other libraries are not counted");
        work();
        return None;
    }
    *CALLS.lock().unwrap() = Some(Calls::default());
    work();
    CALLS.lock().unwrap().take()
}
