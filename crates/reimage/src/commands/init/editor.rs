//! `reimage init --editor`: the library as a file where the Nickel language server finds it.
//!
//! The server (nls) resolves `import "reimage.ncl"` along `NICKEL_IMPORT_PATH`. The library goes to the user's data
//! directory, not into the project: a copy there would be older than the binary one day. Beside it goes a wrapper that
//! starts nls with that variable, for editors that take a path to the server but no environment.

use std::{os::unix::fs::PermissionsExt, path::Path, process::ExitCode};

use reimage_spec::{LIBRARY, LIBRARY_FILE};
use serde_json::json;

use crate::{app::App, error::CommandError};

/// Runs it.
pub(super) fn run(app: &App) -> Result<ExitCode, CommandError> {
    let directory = app.machine.xdg("XDG_DATA_HOME", ".local/share")?.join("reimage/editor");
    fs_err::create_dir_all(&directory)?;
    let wrapper = directory.join("nls");
    replace(&directory.join(LIBRARY_FILE), LIBRARY, 0o644)?;
    replace(&wrapper, &script(&directory), 0o755)?;
    if app.ui.json() {
        app.ui.value(&json!({ "library": directory.join(LIBRARY_FILE), "server": wrapper }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (directory, wrapper) = (directory.display(), wrapper.display());
    app.ui.line(format!(
        "Wrote {directory}/{LIBRARY_FILE} and {wrapper}, which starts `nls` with it"
    ))?;
    app.ui.line("Tell your editor, once:")?;
    for (editor, setting) in [
        ("VS Code, settings.json", format!("\"nls.server.path\": \"{wrapper}\"")),
        (
            "Neovim, init.lua",
            format!("vim.lsp.config(\"nickel_ls\", {{ cmd = {{ \"{wrapper}\" }} }})"),
        ),
        ("Helix, languages.toml", format!("[language-server.nls]\n    command = \"{wrapper}\"")),
        ("others, environment", format!("NICKEL_IMPORT_PATH={directory}")),
    ] {
        app.ui.line(format!("  {}\n    {setting}", app.ui.out.bold(editor)))?;
    }
    app.ui.line("Run this again after an update of reimage.")?;
    Ok(ExitCode::SUCCESS)
}

fn script(directory: &Path) -> String {
    let directory = directory.display().to_string().replace('\'', "'\\''");
    format!(
        "#!/bin/sh\n# Made by `reimage init --editor`.\nNICKEL_IMPORT_PATH='{directory}'${{NICKEL_IMPORT_PATH:+:$NICKEL_IMPORT_PATH}}\nexport NICKEL_IMPORT_PATH\nexec nls \"$@\"\n"
    )
}

/// Puts a file in place as a whole: an editor may be reading it.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CommandError> {
    let new = path.with_extension("new");
    fs_err::write(&new, text)?;
    fs_err::set_permissions(&new, PermissionsExt::from_mode(mode))?;
    Ok(fs_err::rename(&new, path)?)
}
