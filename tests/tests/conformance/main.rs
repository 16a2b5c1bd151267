//! What every transport must do: the same tests for both drivers.

mod driver;
mod faults;
mod holding;
mod proxies;
mod rounds;
mod waiting;

/// Makes a test of each function, once for each driver.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod with_ureq {
            $(#[test] fn $name() { super::$name::<crate::driver::Blocking>() })*
        }
        mod with_reqwest {
            $(#[test] fn $name() { super::$name::<crate::driver::Tokio>() })*
        }
    };
}

pub(crate) use conformance;
