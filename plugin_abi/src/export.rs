//! `export!`, the one line that an app needs.

/// Exports an app to devhost. See the [crate's documentation](crate) for what can be exported.
///
/// Expands to nothing without `--cfg devhost`, which devhost sets when it builds the app. A crate may use it
/// once, in its root or in a module.
///
/// ```
/// fn app() -> axum::Router {
///     axum::Router::new()
/// }
///
/// devhost_plugin::export!(app);
/// ```
///
/// What cannot be exported does not compile under devhost. Here the state is missing:
///
/// ```compile_fail
/// fn app() -> axum::Router<u32> {
///     axum::Router::new()
/// }
///
/// # fn check<Form>(_: impl devhost_plugin::IntoApp<Form>) {}
/// # check(app);
/// devhost_plugin::export!(app);
/// ```
#[cfg(feature = "service")]
#[macro_export]
macro_rules! export {
    ($app:expr $(,)?) => {
        #[allow(unexpected_cfgs)]
        const _: () = {
            // Names the dylib of all dependencies, passed by devhost with --extern; rustc would not load it
            // otherwise.
            #[cfg(devhost)]
            extern crate devhost_deps as _;

            #[cfg(devhost)]
            #[unsafe(no_mangle)]
            extern "C" fn devhost_plugin_descriptor() -> *const $crate::__private::Descriptor {
                $crate::__descriptor!($app)
            }
        };
    };
}

/// The descriptor of an app, without its symbol. Not part of the API.
#[cfg(feature = "service")]
#[doc(hidden)]
#[macro_export]
macro_rules! __descriptor {
    ($app:expr) => {{
        struct ExportedApp;
        impl $crate::__private::Plugin for ExportedApp {
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            fn load() -> $crate::__private::Loading {
                $crate::IntoApp::load($app)
            }
        }
        static DESCRIPTOR: $crate::__private::Descriptor = $crate::__private::descriptor::<ExportedApp>();
        &DESCRIPTOR
    }};
}
