//! What a setting is called: its path in [`Settings`](super::Settings), which is where a key is written once.

/// The dotted key of a setting, which is its path in [`Settings`](crate::settings::Settings): one that is not there does
/// not compile. The four parts of the mask config are keys as well.
///
/// ```
/// use pet_coordinator::{key, settings::Loader};
///
/// assert_eq!(key!(pet.sum.count.min), "pet.sum.count.min");
/// let loader = Loader::new().option(key!(model.length), "--length", "1000");
/// assert_eq!(loader.load()?.settings.model.length, 1000);
/// # Ok::<(), pet_coordinator::settings::SettingsError>(())
/// ```
///
/// ```compile_fail
/// pet_coordinator::key!(pet.sum.count.least);
/// ```
#[macro_export]
macro_rules! key {
    (mask . $part:ident) => {{
        let _ = |settings: &$crate::settings::Settings| settings.mask.$part();
        concat!("mask.", stringify!($part))
    }};
    ($section:ident $(. $field:ident)+) => {{
        let _ = |settings: &$crate::settings::Settings| {
            let _ = &settings.$section$(.$field)+;
        };
        concat!(stringify!($section), $(".", stringify!($field)),+)
    }};
}
