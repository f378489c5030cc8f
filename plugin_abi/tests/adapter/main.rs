//! The adapter and the C fixtures, driven through the C functions as devhost drives them.

mod c_plugin;
mod fake_host;
mod forms;
mod requests;
mod web_socket;
