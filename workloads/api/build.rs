//! Embeds the files of the console in the program, by name.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("console");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    let mut source = "static FILES: &[(&str, &[u8])] = &[\n".to_owned();
    for name in names {
        let path = folder.join(&name);
        let path = path.to_string_lossy();
        writeln!(source, "    ({name:?}, include_bytes!({path:?})),").expect("writing to a String does not fail");
    }
    source.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("console.rs"), source)
}
