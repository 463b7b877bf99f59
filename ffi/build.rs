//! Says to the linker what a shared library that C programs link is to have.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // A program runs with every library of the ABI that it was linked with.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libobjstore.so.0");
        // Of what comes from dependencies nothing is exported, whatever they say.
        println!("cargo::rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        // Threads of the library run on when it is unloaded: its code stays.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
