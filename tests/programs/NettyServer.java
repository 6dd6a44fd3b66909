import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.codec.http.HttpServerKeepAliveHandler;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Serves HTTPS by Netty and the OpenSSL of netty-tcnative: NettyServer PORT CERTIFICATE KEY. */
public class NettyServer {
    static final Map<String, Integer> STATUSES =
            Map.of("missing", 404, "created", 201, "moved", 302);

    /** Says what it was asked. */
    static class Answer extends SimpleChannelInboundHandler<FullHttpRequest> {
        @Override
        protected void channelRead0(ChannelHandlerContext context, FullHttpRequest request) {
            int length = request.content().readableBytes();
            String text = "{\"method\": \"" + request.method() + "\", \"target\": \""
                    + request.uri() + "\"}" + " ".repeat(length) + "\n";
            String[] parts = request.uri().split("/");
            int status = parts.length > 2 ? STATUSES.getOrDefault(parts[2], 200) : 200;
            var response = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1,
                    HttpResponseStatus.valueOf(status),
                    Unpooled.copiedBuffer(text, StandardCharsets.UTF_8));
            response.headers().set("content-type", "application/json");
            response.headers().setInt("content-length", response.content().readableBytes());
            context.writeAndFlush(response);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext context, Throwable cause) {
            context.close();
        }
    }

    public static void main(String[] args) throws Exception {
        SslContext tls = SslContextBuilder.forServer(new File(args[1]), new File(args[2]))
                .sslProvider(SslProvider.OPENSSL)
                .build();
        EventLoopGroup group = new NioEventLoopGroup(2);
        ServerBootstrap server = new ServerBootstrap();
        server.group(group).channel(NioServerSocketChannel.class);
        server.childHandler(new ChannelInitializer<SocketChannel>() {
            @Override
            protected void initChannel(SocketChannel channel) {
                channel.pipeline().addLast(tls.newHandler(channel.alloc()),
                        new HttpServerCodec(), new HttpServerKeepAliveHandler(),
                        new HttpObjectAggregator(1 << 20), new Answer());
            }
        });
        server.bind("127.0.0.1", Integer.parseInt(args[0])).sync().channel().closeFuture().sync();
    }
}
