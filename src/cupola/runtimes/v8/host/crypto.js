// `crypto` of queries and mutations: all that takes no randomness but the call's own. Evaluated when
// it is first used. `web`: what `web.js` shares.
(function (host, environment, web) {
  "use strict";
  const {
    importDer, importJwk, exportJwk, signWith, verifyWith, encrypt, decrypt, decryptRsa, agree,
    digest, hmac, pbkdf2, hkdf, sameText, wrap, unwrap,
  } = host;
  const { DOMException, SECRET, TextDecoder, TextEncoder, missing, viewOf, btoa, atob } = web;

  const entropy = () => new Error(
    "Can't use cryptographic randomness in queries and mutations. Please consider using an action. " +
      "See https://docs.convex.dev/functions/actions for more details.",
  );
  const HASHES = { "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" };
  const HASH_BLOCKS = { "SHA-1": 512, "SHA-256": 512, "SHA-384": 1024, "SHA-512": 1024 };
  const CURVES = { "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1" };
  const DERIVED_BYTES_MAX = 2 ** 20;
  const NAMES = [
    "HMAC", "AES-CBC", "AES-CTR", "AES-GCM", "AES-KW", "RSASSA-PKCS1-v1_5", "RSA-PSS", "RSA-OAEP",
    "ECDSA", "ECDH", "Ed25519", "X25519", "PBKDF2", "HKDF",
  ];
  const SECRETS = ["HMAC", "AES-CBC", "AES-CTR", "AES-GCM", "AES-KW", "PBKDF2", "HKDF"];
  const USAGES = {
    HMAC: ["sign", "verify"],
    "AES-CBC": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
    "AES-CTR": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
    "AES-GCM": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
    "AES-KW": ["wrapKey", "unwrapKey"],
    PBKDF2: ["deriveKey", "deriveBits"],
    HKDF: ["deriveKey", "deriveBits"],
  };
  const USAGES_OF_PAIRS = { // by type of the key
    "RSASSA-PKCS1-v1_5": { private: ["sign"], public: ["verify"] },
    "RSA-PSS": { private: ["sign"], public: ["verify"] },
    ECDSA: { private: ["sign"], public: ["verify"] },
    Ed25519: { private: ["sign"], public: ["verify"] },
    "RSA-OAEP": { private: ["decrypt", "unwrapKey"], public: ["encrypt", "wrapKey"] },
    ECDH: { private: ["deriveKey", "deriveBits"], public: [] },
    X25519: { private: ["deriveKey", "deriveBits"], public: [] },
  };

  const problem = (message, name) => new DOMException(message, name);
  const isAes = (name) => name.startsWith("AES-");
  const isRsa = (name) => name.startsWith("RSA");
  const isCurve = (name) => name === "ECDSA" || name === "ECDH";

  function nameOf(algorithm) {
    const given = String(typeof algorithm === "object" ? algorithm?.name : algorithm);
    const name = NAMES.find((each) => each.toUpperCase() === given.toUpperCase());
    if (name === undefined) throw problem(`Unrecognized algorithm name: ${given}`, "NotSupportedError");
    return name;
  }

  function hashOf(algorithm) {
    const name = String(typeof algorithm === "object" ? algorithm?.name : algorithm).toUpperCase();
    if (!Object.hasOwn(HASHES, name)) {
      throw problem(`Unrecognized algorithm name: ${name}`, "NotSupportedError");
    }
    return name;
  }

  function bytesOf(hex) {
    const bytes = new Uint8Array(hex.length / 2);
    for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    return bytes;
  }

  const hexOf = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const toBase64Url = (bytes) =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  const fromBase64Url = (text) => Uint8Array.from(
    atob(String(text).replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0),
  );

  /** The result of a function of the host, or an exception of this name. */
  function taken(answer, name = "OperationError", message = "The operation failed.") {
    if (answer[0] !== "0") throw problem(message, name);
    return answer.slice(1);
  }

  // ------------------------------------------------------------------------------------------ keys

  const materials = new WeakMap(); // a key -> its DER, or its bytes if it is secret

  class CryptoKey {
    constructor(secret, material, type, algorithm, extractable, usages) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
      materials.set(this, material);
      this.type = type;
      this.algorithm = algorithm;
      this.extractable = extractable;
      this.usages = usages;
    }
  }

  function materialOf(key, name, usage) {
    if (!(key instanceof CryptoKey) || key.algorithm.name !== name || !key.usages.includes(usage)) {
      throw problem(`The key cannot be used to ${usage}.`, "InvalidAccessError");
    }
    return materials.get(key);
  }

  function checkUsages(usages, allowed, type) {
    const unknown = [...usages].filter((usage) => !allowed.includes(usage));
    if (unknown.length > 0) {
      throw problem(`Such a key is not there to ${unknown.join(", ")}.`, "SyntaxError");
    }
    if (usages.length === 0 && type !== "public") throw problem("A key needs a usage.", "SyntaxError");
  }

  function secretKey(name, format, data, algorithm, extractable, usages) {
    let bytes;
    if (format === "raw") bytes = viewOf(data).slice();
    else if (format === "jwk" && data?.kty === "oct") bytes = fromBase64Url(data.k);
    else if (format === "jwk") throw problem("This is no JWK of a secret key.", "DataError");
    else throw problem(`A ${name} key cannot be imported as ${format}.`, "NotSupportedError");
    checkUsages(usages, USAGES[name], "secret");
    const described = { name };
    if (name === "HMAC") {
      if (bytes.length === 0) throw problem("The key is empty.", "DataError");
      described.hash = { name: hashOf(algorithm.hash) };
      described.length = bytes.length * 8;
    } else if (isAes(name)) {
      if (![16, 24, 32].includes(bytes.length)) throw problem("The key has no such length.", "DataError");
      described.length = bytes.length * 8;
    } else if (extractable) {
      throw problem("Such a key only derives others, and stays secret.", "SyntaxError");
    }
    return new CryptoKey(SECRET, bytes, "secret", described, Boolean(extractable), [...usages]);
  }

  /** The JWK of a public key that is given as a point. */
  function jwkOfPoint(name, algorithm, bytes) {
    if (!isCurve(name)) return { kty: "OKP", crv: name, x: toBase64Url(bytes) };
    const size = (bytes.length - 1) / 2;
    if (bytes[0] !== 4 || !Number.isInteger(size)) throw problem("This is no point.", "DataError");
    return {
      kty: "EC", crv: algorithm.namedCurve,
      x: toBase64Url(bytes.subarray(1, 1 + size)), y: toBase64Url(bytes.subarray(1 + size)),
    };
  }

  function foundIn(name, format, data, algorithm) {
    switch (format) {
      case "pkcs8": return importDer("private", viewOf(data));
      case "spki": return importDer("public", viewOf(data));
      case "jwk": return importJwk(JSON.stringify(data));
      case "raw":
        if (isRsa(name)) throw problem("An RSA key has no raw form.", "NotSupportedError");
        return importJwk(JSON.stringify(jwkOfPoint(name, algorithm, viewOf(data))));
    }
    throw problem(`A key cannot be imported as ${format}.`, "NotSupportedError");
  }

  function pairKey(name, format, data, algorithm, extractable, usages) {
    const answer = foundIn(name, format, data, algorithm);
    const found = JSON.parse(taken(answer, "DataError", `This is no ${name} key.`));
    const kind = isRsa(name) ? "rsa" : isCurve(name) ? "ec" : name.toLowerCase();
    if (found.kind !== kind) throw problem(`This is no ${name} key.`, "DataError");
    const described = { name };
    if (isRsa(name)) {
      described.hash = { name: hashOf(algorithm.hash) };
      described.modulusLength = found.modulusLength;
      const digits = BigInt(found.publicExponent).toString(16);
      described.publicExponent = bytesOf(digits.length % 2 ? `0${digits}` : digits);
    } else if (isCurve(name)) {
      if (CURVES[algorithm.namedCurve] !== found.namedCurve) {
        throw problem("The key is of another curve.", "DataError");
      }
      described.namedCurve = algorithm.namedCurve;
    }
    checkUsages(usages, USAGES_OF_PAIRS[name][found.type], found.type);
    const isExtractable = found.type === "public" || Boolean(extractable);
    return new CryptoKey(SECRET, bytesOf(found.der), found.type, described, isExtractable, [...usages]);
  }

  function exported(format, key) {
    if (!(key instanceof CryptoKey)) throw new TypeError("exportKey takes a CryptoKey.");
    if (!key.extractable) throw problem("The key is not extractable.", "InvalidAccessError");
    const material = materials.get(key);
    const facts = { key_ops: [...key.usages], ext: true };
    if (key.type === "secret") {
      if (format === "raw") return material.slice().buffer;
      if (format === "jwk") return { kty: "oct", k: toBase64Url(material), ...facts };
    } else if (format === (key.type === "private" ? "pkcs8" : "spki")) {
      return material.slice().buffer;
    } else if (format === "jwk") {
      return { ...JSON.parse(taken(exportJwk(key.type, material))), ...facts };
    } else if (format === "raw" && key.type === "public" && !isRsa(key.algorithm.name)) {
      const { x, y } = JSON.parse(taken(exportJwk("public", material)));
      if (y === undefined) return fromBase64Url(x).buffer;
      return Uint8Array.from([4, ...fromBase64Url(x), ...fromBase64Url(y)]).buffer;
    }
    throw problem(`A ${key.type} key cannot be exported as ${format}.`, "NotSupportedError");
  }

  // ------------------------------------------------------------------------------------ operations

  const SCHEMES = {
    "RSASSA-PKCS1-v1_5": "PKCS1", "RSA-PSS": "PSS", ECDSA: "ECDSA", Ed25519: "ED25519",
  };

  /** What a signature is made with: the hash of RSA keys is the key's, that of ECDSA is given. */
  function hashFor(name, algorithm, key) {
    if (name === "Ed25519") return "";
    return HASHES[name === "ECDSA" ? hashOf(algorithm.hash) : key.algorithm.hash.name];
  }

  function signed(algorithm, key, data) {
    const name = nameOf(algorithm);
    if (name === "HMAC") {
      const material = materialOf(key, name, "sign");
      return bytesOf(taken(hmac(HASHES[key.algorithm.hash.name], material, viewOf(data)))).buffer;
    }
    if (!Object.hasOwn(SCHEMES, name)) throw problem(`${name} does not sign.`, "NotSupportedError");
    if (name === "RSA-PSS" || name === "ECDSA") throw entropy();
    const der = materialOf(key, name, "sign");
    const hash = hashFor(name, algorithm, key);
    return bytesOf(taken(signWith(SCHEMES[name], hash, der, viewOf(data)))).buffer;
  }

  function verified(algorithm, key, signature, data) {
    const name = nameOf(algorithm);
    if (name === "HMAC") {
      const material = materialOf(key, name, "verify");
      const right = taken(hmac(HASHES[key.algorithm.hash.name], material, viewOf(data)));
      return sameText(hexOf(viewOf(signature)), right);
    }
    if (!Object.hasOwn(SCHEMES, name)) throw problem(`${name} does not sign.`, "NotSupportedError");
    const der = materialOf(key, name, "verify");
    const answer = verifyWith(
      SCHEMES[name], hashFor(name, algorithm, key), der, viewOf(signature), viewOf(data),
      Number(algorithm?.saltLength ?? 0),
    );
    return answer === "0true"; // one that makes no sense is none
  }

  /** Mode, initial vector, additional data and length of the tag, checked. */
  function aesOptions(name, algorithm) {
    if (name === "AES-GCM") {
      const tagLength = algorithm.tagLength ?? 128;
      if (![32, 64, 96, 104, 112, 120, 128].includes(tagLength)) {
        throw problem("The tag has no such length.", "OperationError");
      }
      return ["gcm", viewOf(algorithm.iv), viewOf(algorithm.additionalData), tagLength / 8];
    }
    const iv = viewOf(name === "AES-CTR" ? algorithm.counter : algorithm.iv);
    if (iv.length !== 16) throw problem("The initial vector has 16 bytes.", "OperationError");
    return [name === "AES-CTR" ? "ctr" : "cbc", iv, new Uint8Array(0), 0];
  }

  /** The counter is the last bits of a block: where it would begin anew, ours would go on. */
  function checkCounter(algorithm, data) {
    const length = Number(algorithm.length);
    if (!(length >= 1 && length <= 128)) throw problem("The counter has no such length.", "OperationError");
    const mask = (1n << BigInt(length)) - 1n;
    const first = BigInt(`0x${hexOf(viewOf(algorithm.counter))}`) & mask;
    if (first + BigInt(Math.ceil(data.length / 16)) > mask + 1n) {
      throw problem("The counter is too short for so much data.", "OperationError");
    }
  }

  function transformed(work, usage, algorithm, key, data) {
    const name = nameOf(algorithm);
    const bytes = viewOf(data);
    if (name === "RSA-OAEP") {
      if (usage === "encrypt" || usage === "wrapKey") throw entropy();
      const der = materialOf(key, name, usage);
      if (algorithm.label?.byteLength > 0) throw missing("RSA-OAEP with a label");
      return bytesOf(taken(decryptRsa(HASHES[key.algorithm.hash.name], der, bytes))).buffer;
    }
    if (!isAes(name) || name === "AES-KW") {
      throw problem(`${name} does not ${usage}.`, "NotSupportedError");
    }
    const material = materialOf(key, name, usage);
    const [mode, iv, more, tagLength] = aesOptions(name, algorithm);
    if (mode === "ctr") checkCounter(algorithm, bytes);
    if (material.length === 24 && mode !== "ctr") throw missing(`${name} with keys of 192 bits`);
    return bytesOf(taken(work(mode, material, iv, bytes, more, tagLength))).buffer;
  }

  /** AES-KW (RFC 3394) wraps keys alone; the others treat them as any data. */
  function enveloped(usage, algorithm, key, data) {
    const isWrapping = usage === "wrapKey";
    if (nameOf(algorithm) !== "AES-KW") {
      return transformed(isWrapping ? encrypt : decrypt, usage, algorithm, key, data);
    }
    const material = materialOf(key, "AES-KW", usage);
    if (data.length % 8 !== 0 || data.length < (isWrapping ? 16 : 24)) {
      throw problem("AES-KW wraps whole blocks of 64 bits, two at least.", "OperationError");
    }
    return bytesOf(taken((isWrapping ? wrap : unwrap)(material, data))).buffer;
  }

  function imported(format, data, algorithm, extractable, usages) {
    const name = nameOf(algorithm);
    const make = SECRETS.includes(name) ? secretKey : pairKey;
    return make(name, format, data, algorithm, extractable, usages);
  }

  /** A JWK that was wrapped. */
  function jwkIn(bytes) {
    try {
      return JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      throw problem("What was wrapped is no JWK.", "DataError");
    }
  }

  function derived(algorithm, key, length, usage) {
    const name = nameOf(algorithm);
    const material = materialOf(key, name, usage);
    if (name === "ECDH" || name === "X25519") {
      const { public: other } = algorithm;
      if (!(other instanceof CryptoKey) || other.type !== "public" || other.algorithm.name !== name ||
        other.algorithm.namedCurve !== key.algorithm.namedCurve) {
        throw problem("The other key does not fit.", "InvalidAccessError");
      }
      const bytes = bytesOf(taken(agree(material, materials.get(other))));
      if (length === null || length === undefined) return bytes;
      if (length % 8 || length > bytes.length * 8) {
        throw problem("The length is too long, or no number of whole bytes.", "OperationError");
      }
      return bytes.slice(0, length / 8);
    }
    if (!Number.isInteger(length) || length <= 0 || length % 8 || length > DERIVED_BYTES_MAX * 8) {
      throw problem("The length is no number of whole bytes.", "OperationError");
    }
    const hash = HASHES[hashOf(algorithm.hash)];
    const salt = viewOf(algorithm.salt);
    if (name === "HKDF") {
      return bytesOf(taken(hkdf(hash, material, salt, viewOf(algorithm.info), length / 8)));
    }
    if (!(algorithm.iterations >= 1 && algorithm.iterations < 2 ** 31)) {
      throw problem("`iterations` must be at least 1.", "OperationError");
    }
    return bytesOf(taken(pbkdf2(hash, material, salt, Math.floor(algorithm.iterations), length / 8)));
  }

  function lengthOfKey(algorithm) {
    const name = nameOf(algorithm);
    if (isAes(name)) return algorithm.length;
    if (name === "HMAC") return algorithm.length ?? HASH_BLOCKS[hashOf(algorithm.hash)];
    return name === "HKDF" || name === "PBKDF2" ? null : undefined;
  }

  class SubtleCrypto {
    constructor(secret) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
    }
    async digest(algorithm, data) {
      return bytesOf(taken(digest(HASHES[hashOf(algorithm)], viewOf(data)))).buffer;
    }
    async importKey(format, data, algorithm, extractable, usages) {
      return imported(String(format), data, algorithm, extractable, usages);
    }
    async exportKey(format, key) {
      return exported(String(format), key);
    }
    async sign(algorithm, key, data) {
      return signed(algorithm, key, data);
    }
    async verify(algorithm, key, signature, data) {
      return verified(algorithm, key, signature, data);
    }
    async encrypt(algorithm, key, data) {
      return transformed(encrypt, "encrypt", algorithm, key, data);
    }
    async decrypt(algorithm, key, data) {
      return transformed(decrypt, "decrypt", algorithm, key, data);
    }
    async deriveBits(algorithm, key, length) {
      return derived(algorithm, key, length, "deriveBits").slice().buffer;
    }
    async deriveKey(algorithm, key, wanted, extractable, usages) {
      const length = lengthOfKey(wanted);
      if (length === undefined) throw problem("No such key is derived.", "NotSupportedError");
      const bytes = derived(algorithm, key, length, "deriveKey");
      return secretKey(nameOf(wanted), "raw", bytes, wanted, extractable, usages);
    }
    async generateKey() {
      throw entropy();
    }
    async wrapKey(format, key, wrappingKey, algorithm) {
      const plain = exported(String(format), key);
      const bytes = String(format) === "jwk"
        ? new TextEncoder().encode(JSON.stringify(plain))
        : new Uint8Array(plain);
      return enveloped("wrapKey", algorithm, wrappingKey, bytes);
    }
    async unwrapKey(format, wrapped, unwrappingKey, algorithm, wanted, extractable, usages) {
      const bytes = enveloped("unwrapKey", algorithm, unwrappingKey, viewOf(wrapped));
      const data = String(format) === "jwk" ? jwkIn(bytes) : bytes;
      return imported(String(format), data, wanted, extractable, usages);
    }
  }

  class Crypto {
    #subtle = new SubtleCrypto(SECRET);
    constructor(secret) {
      if (secret !== SECRET) throw new TypeError("Illegal constructor");
    }
    get subtle() { return this.#subtle; }
    getRandomValues(array) {
      if (!ArrayBuffer.isView(array) || array instanceof DataView ||
        array instanceof Float32Array || array instanceof Float64Array) {
        throw problem("getRandomValues takes an array of integers.", "TypeMismatchError");
      }
      if (array.byteLength > 65536) {
        throw problem(
          `The requested length (${array.byteLength}) exceeds the limit of 65536 bytes.`,
          "QuotaExceededError",
        );
      }
      const view = viewOf(array);
      for (let i = 0; i < view.length; i++) view[i] = environment.randomByte();
      return array;
    }
    randomUUID() {
      const bytes = this.getRandomValues(new Uint8Array(16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = hexOf(bytes);
      return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
        .join("-");
    }
  }

  return { classes: { CryptoKey, SubtleCrypto, Crypto }, crypto: new Crypto(SECRET) };
})
