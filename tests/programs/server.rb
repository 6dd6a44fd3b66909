# Serves HTTPS with WEBrick: server.rb PORT CERTIFICATE KEY

require "digest"
require "json"
require "webrick"
require "webrick/https"

STATUS = { "missing" => 404, "created" => 201, "moved" => 302 }.freeze

# Answers every method.
class Api < WEBrick::HTTPServlet::AbstractServlet
  def service(request, response)
    response.status = STATUS.fetch(request.path.split("/")[2], 200)
    response["Content-Type"] = "application/json"
    response.body = JSON.generate(
      method: request.request_method,
      target: request.unparsed_uri,
      body: Digest::SHA256.hexdigest(request.body.to_s)
    )
  end
end

port, certificate, key = ARGV
server = WEBrick::HTTPServer.new(
  BindAddress: "127.0.0.1",
  Port: Integer(port),
  SSLEnable: true,
  SSLCertificate: OpenSSL::X509::Certificate.new(File.read(certificate)),
  SSLPrivateKey: OpenSSL::PKey.read(File.read(key)),
  AccessLog: [],
  Logger: WEBrick::Log.new(File::NULL)
)
server.mount("/api", Api)
trap("TERM") { server.shutdown }
server.start
