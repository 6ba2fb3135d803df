// What contexts borrow from Deno's own realm: functions over strings, numbers and bytes, none of
// which gives an object of this realm away.

import { cryptography } from "./cryptography.mjs";

const core = Deno[Deno.internal].core;

const monotonicMs = () => performance.now();

/** The parts of a URL as JSON, or "" if it is none. `change`: [property, value] to set first. */
function urlParts(text, base, property, value) {
  let url;
  try {
    url = base === undefined ? new URL(text) : new URL(text, base);
    if (property !== undefined) url[property] = value;
  } catch {
    return "";
  }
  const { href, origin, protocol, username, password, host, hostname, port, pathname } = url;
  const { search, hash } = url;
  return JSON.stringify({
    href, origin, protocol, username, password, host, hostname, port, pathname, search, hash,
  });
}

function base64Decode(text) {
  try {
    return `0${atob(text)}`;
  } catch {
    return "1";
  }
}

function base64Encode(text) {
  try {
    return `0${btoa(text)}`;
  } catch {
    return "1";
  }
}

/** Decode bytes; "0" and the text, "1" if they are malformed, "2" if the label is unknown. */
function decodeText(label, fatal, ignoreBOM, bytes) {
  let decoder;
  try {
    decoder = new TextDecoder(label, { fatal, ignoreBOM });
  } catch {
    return "2";
  }
  try {
    return `0${decoder.decode(bytes)}`;
  } catch {
    return "1";
  }
}

function encodingOf(label) {
  try {
    return new TextDecoder(label).encoding;
  } catch {
    return "";
  }
}

/** What V8 carries from a promise to its reactions; contexts keep objects of their own there. */
const asyncContext = () => core.getAsyncContext();
const setAsyncContext = (value) => core.setAsyncContext(value);

export const functionsForContexts = {
  asyncContext, setAsyncContext,
  monotonicMs, urlParts, base64Decode, base64Encode, decodeText, encodingOf, ...cryptography,
};
