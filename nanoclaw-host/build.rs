//! Rebuilds the host when a migration is added or changed: `sqlx::migrate!` reads them while compiling.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
