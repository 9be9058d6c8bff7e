//! Turns the packs into JSON, so that the component carries no reader of TOML.

use std::{env, error::Error, fmt::Write, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=packs");
    let mut files = fs::read_dir("packs")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut code = String::from("/// Name and rules of each pack.\nconst PACKS: &[(&str, &str)] = &[\n");
    for file in files {
        let table: toml::Table = fs::read_to_string(&file)?.parse().map_err(|error| format!("{}: {error}", file.display()))?;
        let name = file.file_stem().and_then(|name| name.to_str()).ok_or("a pack has a name in UTF-8")?;
        writeln!(code, "    ({name:?}, {:?}),", serde_json::to_string(&table)?)?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("packs.rs"), code)?;
    Ok(())
}
