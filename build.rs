//! Builds again when a migration is added: the files are embedded, the folder is not watched.

#![expect(clippy::print_stdout, reason = "cargo reads a build script's output")]

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
