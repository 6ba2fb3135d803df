// What `crypto.js` borrows from Deno's own realm: functions over strings and bytes, none of which
// takes randomness. Answers are "0" and a result (hexadecimal digits, or JSON), or "1" where the
// data make no sense. Keys cross as DER (`pkcs8`, `spki`) or, if they are secret, as their bytes.

import {
  constants, createCipheriv, createDecipheriv, createHash, createHmac, createPrivateKey,
  createPublicKey, diffieHellman, hkdfSync, pbkdf2Sync, privateDecrypt, sign, timingSafeEqual, verify,
} from "node:crypto";
import { Buffer } from "node:buffer";

const { RSA_PKCS1_PSS_PADDING, RSA_PKCS1_OAEP_PADDING } = constants;

/** No error of this realm may reach a context. */
const guarded = (work) => (...parameters) => {
  try {
    return `0${work(...parameters)}`;
  } catch {
    return "1";
  }
};

const hexOf = (bytes) => Buffer.from(bytes).toString("hex");
const keyOf = (type, der) => {
  const key = { key: Buffer.from(der), format: "der", type: type === "private" ? "pkcs8" : "spki" };
  return type === "private" ? createPrivateKey(key) : createPublicKey(key);
};

/** A key in words: its type, kind, DER in hexadecimal digits, and what is known of it. */
function describe(key) {
  const der = key.export({ format: "der", type: key.type === "private" ? "pkcs8" : "spki" });
  const { modulusLength, publicExponent, namedCurve } = key.asymmetricKeyDetails ?? {};
  return JSON.stringify({
    type: key.type,
    kind: key.asymmetricKeyType,
    der: hexOf(der),
    modulusLength,
    publicExponent: publicExponent === undefined ? undefined : String(publicExponent),
    namedCurve,
  });
}

const importDer = guarded((type, der) => describe(keyOf(type, der)));

/** `text`: a JWK, as JSON. */
const importJwk = guarded((text) => {
  const jwk = { key: JSON.parse(text), format: "jwk" };
  return describe(jwk.key.d === undefined ? createPublicKey(jwk) : createPrivateKey(jwk));
});

const exportJwk = guarded((type, der) => JSON.stringify(keyOf(type, der).export({ format: "jwk" })));

/** `scheme`: "PKCS1", "PSS", "ECDSA" or "ED25519". */
function options(scheme, key, saltLength) {
  if (scheme === "PSS") return { key, padding: RSA_PKCS1_PSS_PADDING, saltLength };
  return scheme === "ECDSA" ? { key, dsaEncoding: "ieee-p1363" } : key;
}

/** Schemes whose signatures take no randomness. */
const signWith = guarded((scheme, hash, der, data) => {
  const digest = scheme === "ED25519" ? null : hash;
  return hexOf(sign(digest, Buffer.from(data), options(scheme, keyOf("private", der))));
});

const verifyWith = guarded((scheme, hash, der, signature, data, saltLength) => {
  const digest = scheme === "ED25519" ? null : hash;
  const key = options(scheme, keyOf("public", der), saltLength);
  return verify(digest, Buffer.from(data), key, Buffer.from(signature)) ? "true" : "";
});

/** `mode`: "cbc", "ctr" or "gcm", whose tag follows the text. */
const encrypt = guarded((mode, key, iv, data, more, tagLength) => {
  const name = `aes-${key.length * 8}-${mode}`;
  const settings = mode === "gcm" ? { authTagLength: tagLength } : undefined;
  const cipher = createCipheriv(name, Buffer.from(key), Buffer.from(iv), settings);
  if (mode === "gcm") cipher.setAAD(Buffer.from(more));
  const parts = [cipher.update(Buffer.from(data)), cipher.final()];
  if (mode === "gcm") parts.push(cipher.getAuthTag());
  return hexOf(Buffer.concat(parts));
});

const decrypt = guarded((mode, key, iv, data, more, tagLength) => {
  const name = `aes-${key.length * 8}-${mode}`;
  const settings = mode === "gcm" ? { authTagLength: tagLength } : undefined;
  const cipher = createDecipheriv(name, Buffer.from(key), Buffer.from(iv), settings);
  let text = Buffer.from(data);
  if (mode === "gcm") {
    if (text.length < tagLength) throw new Error("there is no tag");
    cipher.setAAD(Buffer.from(more));
    cipher.setAuthTag(text.subarray(text.length - tagLength));
    text = text.subarray(0, text.length - tagLength);
  }
  return hexOf(Buffer.concat([cipher.update(text), cipher.final()]));
});

const WRAPPING_IV = Buffer.alloc(8, 0xa6); // RFC 3394, 2.2.3.1

const wrap = guarded((key, data) => {
  const cipher = createCipheriv(`aes${key.length * 8}-wrap`, Buffer.from(key), WRAPPING_IV);
  return hexOf(Buffer.concat([cipher.update(Buffer.from(data)), cipher.final()]));
});

const unwrap = guarded((key, data) => {
  const cipher = createDecipheriv(`aes${key.length * 8}-wrap`, Buffer.from(key), WRAPPING_IV);
  return hexOf(Buffer.concat([cipher.update(Buffer.from(data)), cipher.final()]));
});

const decryptRsa = guarded((hash, der, data) => {
  const key = { key: keyOf("private", der), padding: RSA_PKCS1_OAEP_PADDING, oaepHash: hash };
  return hexOf(privateDecrypt(key, Buffer.from(data)));
});

const agree = guarded((privateDer, publicDer) => {
  const [privateKey, publicKey] = [keyOf("private", privateDer), keyOf("public", publicDer)];
  return hexOf(diffieHellman({ privateKey, publicKey }));
});

const digest = guarded((hash, bytes) => createHash(hash).update(Buffer.from(bytes)).digest("hex"));

const hmac = guarded((hash, key, bytes) =>
  createHmac(hash, Buffer.from(key)).update(Buffer.from(bytes)).digest("hex"));

const pbkdf2 = guarded((hash, password, salt, iterations, length) =>
  hexOf(pbkdf2Sync(Buffer.from(password), Buffer.from(salt), iterations, length, hash)));

const hkdf = guarded((hash, key, salt, info, length) =>
  hexOf(hkdfSync(hash, Buffer.from(key), Buffer.from(salt), Buffer.from(info), length)));

function sameText(a, b) {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

export const cryptography = {
  importDer, importJwk, exportJwk, signWith, verifyWith, encrypt, decrypt, decryptRsa, agree, digest,
  hmac, pbkdf2, hkdf, sameText, wrap, unwrap,
};
