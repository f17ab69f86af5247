//! Builds again when a migration is added: the files are embedded, the folder is not watched.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
