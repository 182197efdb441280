//! `edgeslm devices`: what ONNX Runtime has to run models on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use edgeslm::engine::ort::{self, Devices};
use edgeslm::engine::{OrtOptions, Provider};

use crate::arguments::providers;
use crate::failure::{Exit, Failure};
use crate::output::{Table, printable, write_facts, write_json};

/// Show ONNX Runtime's execution providers and the devices that they find
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  edgeslm devices
  edgeslm devices --ort-library /opt/onnxruntime/lib/libonnxruntime.so --json")]
pub(crate) struct Arguments {
    /// ONNX Runtime's shared library, an absolute path [default: EDGESLM_ORT_LIBRARY, or where it is found]
    #[arg(long, value_name = "FILE")]
    ort_library: Option<PathBuf>,

    /// The provider whose plug-in --provider-library is
    #[arg(long, value_name = "NAME", value_parser = providers(), requires = "provider_library")]
    provider: Option<String>,

    /// The shared library of a provider that is a plug-in, an absolute path
    #[arg(long, value_name = "FILE", requires = "provider")]
    provider_library: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let provider = arguments.provider.as_deref().map(Provider::by_name).transpose()?;
    let devices = ort::devices(&OrtOptions {
        library: arguments.ort_library.clone(),
        provider: provider.unwrap_or_default(),
        provider_library: arguments.provider_library.clone(),
        provider_options: Vec::new(),
    })?;
    if arguments.json {
        write_json(out, &devices)?
    } else {
        write(&devices, out)?
    }
    Ok(Exit::Success)
}

fn write(devices: &Devices, out: &mut dyn Write) -> std::io::Result<()> {
    write_facts(
        out,
        &[("ONNX Runtime", devices.version.clone()), ("library", devices.library.display().to_string())],
    )?;
    writeln!(out, "\nProviders")?;
    let mut table = Table::default();
    for provider in &devices.providers {
        let place = match (&provider.error, &provider.library) {
            (Some(error), _) => format!("cannot be used: {}", printable(error)),
            (None, Some(library)) => library.display().to_string(),
            (None, None) => "built in".to_owned(),
        };
        table.row([format!("  {}", printable(&provider.name)), place]);
    }
    table.write(out)?;
    writeln!(out, "\nDevices")?;
    let mut table = Table::default();
    for device in &devices.devices {
        table.row([
            format!("  {}", printable(&device.provider)),
            device.kind.to_owned(),
            printable(&device.vendor).to_string(),
        ]);
    }
    table.write(out)
}
