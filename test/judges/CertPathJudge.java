import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertPathValidator;
import java.security.cert.CertStore;
import java.security.cert.CertificateFactory;
import java.security.cert.CollectionCertStoreParameters;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.PKIXRevocationChecker.Option;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** Answers a line for each line that it reads: "accepted", or "refused" and why. Its arguments are separated by tabs. */
public class CertPathJudge {
  public static void main(String[] arguments) throws Exception {
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = lines.readLine()) != null; ) {
      String answer;
      try {
        answer = judge(line.split("\t"));
      } catch (Exception error) {
        answer = "refused: " + error + (error.getCause() == null ? "" : ": " + error.getCause());
      }
      System.out.println(answer.replaceAll("\\s+", " "));
    }
  }

  private static String judge(String[] asked) throws Exception {
    switch (asked[0]) {
      case "crl":
        return validate(asked[1], asked[2], asked[3], EnumSet.of(Option.PREFER_CRLS, Option.NO_FALLBACK));
      case "fetched-crl":
        return validate(asked[1], asked[2], null, EnumSet.of(Option.PREFER_CRLS, Option.NO_FALLBACK, Option.ONLY_END_ENTITY));
      case "ocsp":
        return validate(asked[1], asked[2], null, EnumSet.of(Option.NO_FALLBACK, Option.ONLY_END_ENTITY));
      case "tls":
        return connect(asked[1], asked[2], asked[3], asked[4], Integer.parseInt(asked[5]));
      default:
        return "refused: no such judgement";
    }
  }

  private static String validate(String roots, String chain, String crls, Set<Option> options) throws Exception {
    CertificateFactory factory = CertificateFactory.getInstance("X.509");
    Set<TrustAnchor> anchors = new HashSet<>();
    for (Certificate root : read(roots)) anchors.add(new TrustAnchor((X509Certificate) root, null));
    PKIXParameters parameters = new PKIXParameters(anchors);
    CertPathValidator validator = CertPathValidator.getInstance("PKIX");
    PKIXRevocationChecker revocation = (PKIXRevocationChecker) validator.getRevocationChecker();
    revocation.setOptions(options);
    parameters.addCertPathChecker(revocation);
    if (crls != null)
      try (InputStream in = new FileInputStream(crls)) {
        parameters.addCertStore(
            CertStore.getInstance("Collection", new CollectionCertStoreParameters(factory.generateCRLs(in))));
      }
    validator.validate(factory.generateCertPath(read(chain)), parameters);
    return "accepted";
  }

  /** A handshake by the key of a PKCS #12 file, and a request over it: what is answered. */
  private static String connect(String roots, String pkcs12, String password, String host, int port) throws Exception {
    KeyStore own = KeyStore.getInstance("PKCS12");
    try (InputStream in = new FileInputStream(pkcs12)) {
      own.load(in, password.toCharArray());
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
    keys.init(own, password.toCharArray());

    KeyStore trusted = KeyStore.getInstance("PKCS12");
    trusted.load(null, null);
    for (Certificate root : read(roots)) trusted.setCertificateEntry("root" + trusted.size(), root);
    TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
    trust.init(trusted);

    SSLContext context = SSLContext.getInstance("TLS");
    context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    InetAddress address = InetAddress.getByAddress(host, new byte[] {127, 0, 0, 1});
    try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(address, port)) {
      SSLParameters checks = socket.getSSLParameters();
      checks.setEndpointIdentificationAlgorithm("HTTPS");
      socket.setSSLParameters(checks);
      String request = "GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n";
      socket.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
      String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      return answer.startsWith("HTTP/1.1 200 ") ? "accepted" : "refused: " + answer;
    }
  }

  private static List<Certificate> read(String file) throws Exception {
    try (InputStream in = new FileInputStream(file)) {
      return new ArrayList<>(CertificateFactory.getInstance("X.509").generateCertificates(in));
    }
  }
}
