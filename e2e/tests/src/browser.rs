//! Chromium, driven by WebDriver.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Client, ClientBuilder, Locator, wd::Capabilities};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::wait::eventually;

/// Limit for a page to load or an element to appear.
const LIMIT: Duration = Duration::from_secs(30);

/// A headless Chromium with its chromedriver. Dropping it ends both.
pub struct Browser {
    pub page: Client,
    /// The URL of chromedriver.
    url: String,
    driver: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// Starts a browser with the preferred color scheme `light` or `dark`.
    ///
    /// # Errors
    /// `chromedriver` is not installed, or no browser starts in time.
    pub async fn start(scheme: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let mut driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("could not start chromedriver; e2e/prepare installs it")?;
        let dark = if scheme == "dark" { 0 } else { 2 };
        let options = json!({
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [
                // As root Chromium has no sandbox; it loads only the console.
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server", "--window-size=1360,900",
                "--force-prefers-reduced-motion", format!("--blink-settings=preferredColorScheme={dark}"),
            ]},
        });
        let capabilities: Capabilities = options.as_object().context("capabilities")?.clone();
        let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let builder = builder.capabilities(capabilities);
        let url = format!("http://127.0.0.1:{port}");
        let connected = eventually(LIMIT, "the browser starts", || async { Ok(builder.connect(&url).await?) }).await;
        match connected {
            Ok(page) => Ok(Self { page, url, driver }),
            Err(error) => {
                let _ = driver.kill();
                let _ = driver.wait();
                bail!("{error:#}")
            }
        }
    }

    /// Waits until the view of this name shows its data, and checks that it shows no problem.
    ///
    /// # Errors
    /// The view shows no data in time, or it shows a problem.
    pub async fn wait_for_view(&self, name: &str) -> Result<()> {
        let ready = format!("main[data-view=\"{name}\"][data-ready=\"true\"]");
        eventually(LIMIT, format!("the view {name}"), || async {
            self.page.find(Locator::Css(&ready)).await?;
            Ok(())
        })
        .await?;
        let shown = self.page.find_all(Locator::Css(".problem")).await?;
        for problem in shown {
            ensure!(!problem.is_displayed().await?, "{name}: {}", problem.text().await?);
        }
        Ok(())
    }

    /// Waits for an element and returns its text.
    ///
    /// # Errors
    /// The element does not appear in time.
    pub async fn text(&self, selector: &str) -> Result<String> {
        eventually(LIMIT, selector, || async { Ok(self.page.find(Locator::Css(selector)).await?.text().await?) }).await
    }

    /// Waits for an element and clicks it.
    ///
    /// # Errors
    /// The element does not appear in time, or it cannot be clicked.
    pub async fn click(&self, selector: &str) -> Result<()> {
        eventually(LIMIT, selector, || async { Ok(self.page.find(Locator::Css(selector)).await?.click().await?) }).await
    }

    /// Waits for an element and types into it.
    ///
    /// # Errors
    /// The element does not appear in time, or it takes no text.
    pub async fn type_text(&self, selector: &str, text: &str) -> Result<()> {
        eventually(LIMIT, selector, || async {
            Ok(self.page.find(Locator::Css(selector)).await?.send_keys(text).await?)
        })
        .await
    }

    /// Runs a script and returns its value.
    ///
    /// # Errors
    /// The script throws an exception, or the session has ended.
    pub async fn execute(&self, script: &str) -> Result<Value> {
        Ok(self.page.execute(script, Vec::new()).await?)
    }

    /// The errors and warnings of the browser's console.
    ///
    /// # Errors
    /// The session has ended, or the driver returns no log.
    pub async fn console_errors(&self) -> Result<Vec<String>> {
        let session = self.page.session_id().await?.context("the session has no id")?;
        let url = format!("{}/session/{session}/se/log", self.url);
        let http = reqwest::Client::builder().no_proxy().build()?;
        let response: Value = http.post(url).json(&json!({"type": "browser"})).send().await?.json().await?;
        let lines = response["value"].as_array().context("no log")?;
        let bad = lines.iter().filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        Ok(bad.filter_map(|line| line["message"].as_str()).map(str::to_owned).collect())
    }

    /// Saves a screenshot in the folder `SWITCHYARD_SCREENSHOTS`; does nothing if that is not set.
    ///
    /// # Errors
    /// The folder or the file cannot be written, or the session has ended.
    pub async fn screenshot(&self, name: &str) -> Result<()> {
        if let Ok(folder) = std::env::var("SWITCHYARD_SCREENSHOTS") {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), self.page.screenshot().await?)?;
        }
        Ok(())
    }
}
