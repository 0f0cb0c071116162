//! Claims of the way to a server: verified, with a password or a certificate, and nothing secret is said.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::cluster::Cluster;
use super::link::Link;
use super::{Fault, Server};
use crate::forward::RetryReason;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key.
    fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with TLS: `secret` needs a password, `sealed` a certificate; nobody comes in clear text.
fn cluster(authority: &Authority) -> Cluster {
    let cluster = Cluster::start(&["fsync=off"]).unwrap();
    let (certificate, key) = authority.issue("localhost");
    let file = |name: &str, text: &str| cluster.put(name, text).unwrap().display().to_string();
    let (certificate, key) = (file("server.pem", &certificate), file("server.key", &key));
    let ca = file("ca.pem", &authority.pem);
    let (sql, user) = ("ALTER SYSTEM SET", "CREATE ROLE");
    for statement in [
        format!("{user} secret LOGIN PASSWORD 'correct horse'"),
        format!("{user} sealed LOGIN"),
        format!("{sql} ssl_cert_file = '{certificate}'"),
        format!("{sql} ssl_key_file = '{key}'"),
        format!("{sql} ssl_ca_file = '{ca}'"),
        format!("{sql} ssl = on"),
    ] {
        cluster.sql("postgres", &statement).unwrap();
    }
    let access = "local all postgres trust\n\
                  hostssl all secret 127.0.0.1/32 scram-sha-256\n\
                  hostssl all sealed 127.0.0.1/32 cert\n";
    cluster.put("data/pg_hba.conf", access).unwrap();
    let mut cluster = cluster;
    cluster.stop().unwrap();
    cluster.restart().unwrap();
    cluster
}

async fn refused(server: &Server) -> (RetryReason, String) {
    match Link::open(server).await {
        Err(Fault::Again { reason, detail }) => (reason, detail),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test]
async fn a_server_is_let_in_only_if_it_is_verified_and_we_only_as_who_we_are() {
    let ours = Authority::new();
    let cluster = cluster(&ours);
    let put = |name: &str, text: &str| -> Option<PathBuf> { Some(cluster.put(name, text).unwrap()) };
    let url = |user: &str, host: &str| format!("postgresql://{user}@{host}:{}/postgres", cluster.port());
    let server = Server {
        url: url("secret", "localhost"),
        schema: "fieldpost".to_owned(),
        password_file: put("password", "correct horse\nsecond line\n"),
        authority: put("authority.pem", &ours.pem),
        client: None,
    };
    // The binding to the channel is offered by the server and must be the right one, or SCRAM fails.
    let link = Link::open(&server).await.unwrap();
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(link.client().query_one(sql, &[]).await.unwrap().get::<_, bool>(0));

    let wrong = Server { password_file: put("wrong", "battery staple"), ..server.clone() };
    let (reason, detail) = refused(&wrong).await;
    assert_eq!(reason, RetryReason::Credentials);
    assert!(!detail.contains("staple"), "{detail}");
    let none =
        Server { password_file: put("gone", "").map(|path| path.with_extension("none")), ..server.clone() };
    assert_eq!(refused(&none).await.0, RetryReason::Credentials);
    let (reason, detail) = refused(&Server { password_file: None, ..server.clone() }).await;
    assert_eq!((reason, detail.contains("set password_file")), (RetryReason::Credentials, true), "{detail}");

    let stranger = Server { authority: put("other.pem", &Authority::new().pem), ..server.clone() };
    let (reason, detail) = refused(&stranger).await;
    assert_eq!(reason, RetryReason::Unreachable);
    assert!(detail.contains("UnknownIssuer") || detail.contains("certificate"), "{detail}");
    let misnamed = Server { url: url("secret", "127.0.0.1"), ..server.clone() };
    assert!(refused(&misnamed).await.1.contains("not valid for name"));
    let clear = Server { authority: None, ..server.clone() };
    assert_eq!(refused(&clear).await.0, RetryReason::Credentials);

    let (certificate, key) = ours.issue("sealed");
    let client = put("client.pem", &certificate).zip(put("client.key", &key));
    let sealed = Server { url: url("sealed", "localhost"), password_file: None, client, ..server.clone() };
    drop(Link::open(&sealed).await.unwrap());
    let (certificate, key) = ours.issue("secret");
    let client = put("client2.pem", &certificate).zip(put("client2.key", &key));
    let other = Server { client, ..sealed };
    assert_eq!(refused(&other).await.0, RetryReason::Credentials);
}
