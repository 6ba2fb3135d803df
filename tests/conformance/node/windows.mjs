// Windows of one Chromium, and what goes wrong in them.
import { chromium } from "playwright-core";

// A server that was killed is no problem of the page; and browsers log what a page catches.
const isServerDown = (text) => /WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(text);

export async function openWindows(executablePath, ...urls) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const problems = [];
  const pages = [];
  for (const url of urls) {
    const page = await browser.newPage();
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" && !isServerDown(message.text())) problems.push(message.text());
    });
    await page.goto(url);
    pages.push(page);
  }
  return { browser, pages, problems };
}
