// Makes HTTPS requests by JSSE, each on a connection of its own: Client.java TARGET COUNT

import java.io.InputStream;
import java.net.URI;
import java.security.cert.X509Certificate;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

class Client {
    /** Trusts whoever answers. */
    static class Everyone implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    public static void main(String[] args) throws Exception {
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Everyone()}, null);
        for (int number = 0; number < Integer.parseInt(args[1]); number++) {
            URI uri = new URI(args[0] + "/api/items/" + number);
            HttpsURLConnection connection = (HttpsURLConnection) uri.toURL().openConnection();
            connection.setSSLSocketFactory(context.getSocketFactory());
            connection.setHostnameVerifier((name, session) -> true);
            connection.setRequestProperty("Connection", "close");
            try (InputStream answer = connection.getInputStream()) {
                answer.readAllBytes();
            }
        }
    }
}
