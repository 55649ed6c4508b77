//! The `basalt` command: reads what was asked for, sets up the log, hands over, and turns the outcome
//! into an exit code. Everything else is in the library.
//!
//! Exit codes, stable for scripts and units: 0 success; 1 the command failed; 2 the command line or the
//! configuration is wrong; 3 the server could not start; 4 the server answers but is not ready (`status`).

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use basalt::admin::accounts::{self, AccountCommand};
use basalt::admin::brake::Brake;
use basalt::admin::buckets::{self, BucketCommand};
use basalt::admin::client::{AdminRequest, ClientError};
use basalt::admin::credentials::{CREDENTIALS_FILE_DEFAULT, Credentials, CredentialsError};
use basalt::admin::inspect::{self, Choice, InspectError};
use basalt::admin::operator::Order;
use basalt::admin::status;
use basalt::base::time::Nanos;
use basalt::codec::xml::Quota;
use basalt::config::{
    AccountAction, AdminCommand, BucketAction, Command, CommandLine, Config, DriveCommand, InspectOptions,
    LogConfig, LogFormat, ServeOptions, ServerOptions,
};
use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Short requests of many sizes from many threads are what it was made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FAILED: u8 = 1;
const WRONG: u8 = 2;
const NOT_STARTED: u8 = 3;
const NOT_READY: u8 = 4;

fn main() -> ExitCode {
    // Prints help and complaints about the line by itself, with exit code 0 or 2.
    match CommandLine::parse().command {
        Command::Serve(options) => serve(*options),
        Command::Inspect(options) => inspect(&options),
        Command::Status(options) => ask(&options),
        Command::Drive(DriveCommand::Readmit { drive, server }) => order(&server, Order::Readmit(drive)),
        Command::Scrub(options) => order(&options, Order::Scrub),
        Command::Admin(AdminCommand::Account(action)) => account(action),
        Command::Admin(AdminCommand::Bucket(action)) => bucket(action),
        Command::Version => print(&format!("basalt {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn serve(options: ServeOptions) -> ExitCode {
    let config = match Config::resolve(options) {
        Ok(config) => config,
        Err(error) => return fail(WRONG, &error),
    };
    if let Err(error) = start_log(&config.log) {
        let example = "give a level, or levels by module such as info,basalt::catalog=debug";
        return fail(WRONG, &format!("--log {}: {error}; {example}", config.log.filter));
    }
    match basalt::server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(NOT_STARTED, &error),
    }
}

/// Events go to standard error, which carries nothing else: standard output is for results.
fn start_log(config: &LogConfig) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&config.filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).finish().with(Brake::default()).init(),
        LogFormat::Json => log.json().finish().with(Brake::default()).init(),
    }
    Ok(())
}

fn inspect(options: &InspectOptions) -> ExitCode {
    let choice = Choice { segments: options.segments, log: options.log, catalog: options.catalog };
    let mut out = io::BufWriter::new(io::stdout().lock());
    match inspect::run(&options.drive, choice, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that goes away, as `head` does, is no failure.
        Err(InspectError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // What could be told stands in front of the reason why the rest could not.
            let _ = out.flush();
            fail(FAILED, &error)
        }
    }
}

fn ask(options: &ServerOptions) -> ExitCode {
    let request = match admin_request(options) {
        Ok(request) => request,
        Err(code) => return code,
    };
    match status::ask(&request) {
        Ok(answer) => {
            let text = match options.json {
                true => format!("{}\n", answer.json),
                false => status::render(&request.endpoint, &answer.report),
            };
            let printed = print(&text);
            if answer.report.ready { printed } else { ExitCode::from(NOT_READY) }
        }
        Err(error) => fail_asking(&error),
    }
}

fn order(options: &ServerOptions, order: Order) -> ExitCode {
    let request = match admin_request(options) {
        Ok(request) => request,
        Err(code) => return code,
    };
    match status::order(&request, order) {
        Ok((json, _)) if options.json => print(&format!("{json}\n")),
        Ok((_, done)) => print(&format!("{done}\n")),
        Err(error) => fail_asking(&error),
    }
}

fn account(action: AccountAction) -> ExitCode {
    let (command, options) = match action {
        AccountAction::Create(of) => (AccountCommand::Create(of.name), of.server),
        AccountAction::List(options) => (AccountCommand::List, options),
        AccountAction::Disable(of) => (AccountCommand::Disable(of.name), of.server),
        AccountAction::Enable(of) => (AccountCommand::Enable(of.name), of.server),
        AccountAction::Delete(of) => (AccountCommand::Delete(of.name), of.server),
    };
    let request = match admin_request(&options) {
        Ok(request) => request,
        Err(code) => return code,
    };
    match accounts::ask(&request, &command) {
        Ok((json, _)) if options.json => print(&format!("{json}\n")),
        Ok((_, reports)) => print(&accounts::render(&command, &reports)),
        Err(error) => fail_asking(&error),
    }
}

fn bucket(action: BucketAction) -> ExitCode {
    let (command, options) = match action {
        BucketAction::List(options) => (BucketCommand::List(String::new()), options),
        BucketAction::Show(of) => (BucketCommand::Show(of.name), of.server),
        BucketAction::Quota(of) if of.clear => (BucketCommand::Clear(of.name), of.server),
        BucketAction::Quota(of) => {
            let quota = Quota { max_bytes: of.max_bytes.map(|size| size.0), max_objects: of.max_objects };
            match quota == Quota::default() {
                true => (BucketCommand::Show(of.name), of.server),
                false => (BucketCommand::Limit(of.name, quota), of.server),
            }
        }
    };
    let request = match admin_request(&options) {
        Ok(request) => request,
        Err(code) => return code,
    };
    match buckets::ask(&request, &command) {
        Ok((json, _)) if options.json => print(&format!("{json}\n")),
        Ok((_, reports)) => print(&buckets::render(&command, &reports)),
        Err(error) => fail_asking(&error),
    }
}

fn admin_request(options: &ServerOptions) -> Result<AdminRequest, ExitCode> {
    let credentials = root_credentials(options).map_err(|error| fail(FAILED, &error))?;
    let (endpoint, region) = (options.endpoint.clone(), options.region.clone());
    Ok(AdminRequest { endpoint, credentials, region, now: now() })
}

fn fail_asking(error: &ClientError) -> ExitCode {
    fail(if matches!(error, ClientError::Endpoint(_)) { WRONG } else { FAILED }, error)
}

fn root_credentials(options: &ServerOptions) -> Result<Credentials, CredentialsError> {
    match (&options.access_key, &options.secret_key) {
        (Some(access_key), Some(secret_key)) => Credentials::new(access_key.clone(), secret_key.clone()),
        _ => Credentials::read(options.credentials.as_deref().unwrap_or(Path::new(CREDENTIALS_FILE_DEFAULT))),
    }
}

fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos::from_seconds(since.as_secs())
}

/// A reader that goes away, as `head` does, is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(FAILED, &error),
        _ => ExitCode::SUCCESS,
    }
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    // Nothing is left to do when even that cannot be said.
    let _ = writeln!(io::stderr(), "basalt: {error}");
    ExitCode::from(code)
}
