//! TLS of each port.

use super::*;

#[test]
fn tls_that_would_refuse_everybody_or_nobody_is_refused() {
    const PAIR: &str = "cert_file: c, key_file: k";
    let of_key = "error parsing tls config, 'pinned_certs' key abc does not look like hex-encoded \
                  sha256 of DER encoded SubjectPublicKeyInfo";
    for (block, wanted) in [
        ("{}", "tls without a certificate: set 'cert_file' and 'key_file'"),
        ("{ cert_file: c }", "missing 'key_file' in TLS configuration"),
        ("{ key_file: k }", "missing 'cert_file' in TLS configuration"),
        ("{ cert_file: 5 }", "error parsing tls config, expected 'cert_file' to be filename"),
        ("{ verify: x }", "error parsing tls config, expected 'verify' to be a boolean"),
        ("{ verify_and_map: x }", "config, expected 'verify_and_map' to be a boolean"),
        (
            "{ verify_cert_and_check_known_urls: true }",
            "verify_cert_and_check_known_urls not supported in this context",
        ),
        ("{ timeout: \"x\" }", "error parsing tls config, 'timeout' time: invalid duration \"x\""),
        ("{ timeout: -1 }", "error parsing tls config, 'timeout' is out of range"),
        ("{ min_version: \"1.1\" }", "error parsing tls config: unsupported TLS version: TLS 1.1"),
        ("{ min_version: \"1.4\" }", "error parsing tls config: unknown version: 1.4"),
        ("{ cipher_suites: [] }", "error parsing tls config, 'cipher_suites' cannot be empty"),
        (
            "{ curve_preferences: [CurveP521] }",
            "unrecognized curve preference CurveP521; there are X25519, CurveP256, CurveP384",
        ),
        ("{ pinned_certs: [abc] }", of_key),
        ("{ handshake_first: x }", "field \"handshake_first\"'s value \"x\" is invalid"),
        ("{ ocsp_peer: true }", "certificates are not checked by OCSP"),
        ("{ bogus: 1 }", "error parsing tls config, unknown field \"bogus\""),
        (
            "{ certs: [{cert_file: c}] }",
            "certificates config: both 'cert_file' and 'key_file' options are required",
        ),
    ] {
        let text = refusal(&format!("tls {block}"));
        assert!(text.contains(wanted), "{block}: {text}");
    }
    for (more, wanted) in [
        ("certs: [{cert_file: c, key_file: k}]", "cannot combine 'cert_file' option with 'certs'"),
        ("verify: true", ""),
        ("verify_and_map: true, pinned_certs: []", ""),
        ("pinned_certs: []", ""),
        ("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]", "unrecognized cipher"),
    ] {
        let text = format!("tls {{ {PAIR}, {more} }}");
        match wanted {
            "" => assert_eq!(options(&text).tls.unwrap().certs.len(), 1),
            wanted => assert!(refusal(&text).contains(wanted), "{}", refusal(&text)),
        }
    }
    for (block, wanted) in [
        ("{}", "tls without a certificate: set 'cert_file' and 'key_file'"),
        ("{ cert_file: c }", "missing 'key_file' in TLS configuration"),
        ("{ insecure: x }", "error parsing tls config, expected 'insecure' to be a boolean"),
    ] {
        let text = refusal(&format!("cluster {{ port: 1, tls {block} }}"));
        assert!(text.contains(wanted), "{block}: {text}");
    }
}

#[test]
fn tls_of_a_cluster_is_mutual_and_first() {
    let cluster = |more: &str| {
        let tls = format!("tls {{ cert_file: c, key_file: k, {more} }}");
        options(&format!("cluster {{ port: 1, {tls} }}")).cluster.unwrap()
    };
    let plain = cluster("verify: false, handshake_first: auto");
    assert_eq!(plain.auth_timeout(), Duration::from_secs(3));
    let tls = plain.tls.unwrap();
    assert!(tls.verify && !tls.insecure && tls.handshake_first == HandshakeFirst::Yes);
    let known = cluster("verify_cert_and_check_known_urls: true").tls.unwrap();
    assert!(known.verify_cert_and_check_known_urls && !known.verify_and_map);
    let more = cluster("insecure: true, timeout: 5s");
    assert_eq!(more.auth_timeout(), Duration::from_secs(6));
    assert!(more.tls.unwrap().insecure);
}

#[test]
fn monitoring_is_encrypted_or_not() {
    let tls = "tls { cert_file: c, key_file: k }";
    let encrypted = options(&format!("https: \"h:1\", {tls}"));
    let listen = encrypted.monitor_listen().unwrap();
    assert_eq!((&*listen.host, listen.port), ("h", Port::Number(1)));
    assert_eq!(encrypted.check(), Ok(()));
    assert_eq!(options("https_port: 0").monitor_listen(), None);
    for (text, wanted) in [
        ("https_port: -1", "TLS cert and key required for HTTPS"),
        ("https_port: -1, http_port: 5", "can't specify both HTTP (5) and HTTPs (-1) ports"),
    ] {
        let error = options(text).check().unwrap_err().to_string();
        assert_eq!(error, format!("Can't start monitoring: {wanted}"));
    }
}
