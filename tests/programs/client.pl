# Makes HTTPS requests with HTTP::Tiny on one connection and writes down what it did:
# client.pl TARGET COUNT OUT

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;

my ($target, $count, $out) = @ARGV;
my ($address) = $target =~ m{^https://([^/]+)};
my %names = (7 => "missing", 11 => "created", 13 => "moved");
my @methods = qw(GET POST PUT DELETE);

for my $try (1 .. 3000) {
    last if IO::Socket::INET->new(PeerAddr => $address);
    die "no server at $address\n" if $try == 3000;
    select undef, undef, undef, 0.02;
}

my $http = HTTP::Tiny->new(max_redirect => 0, verify_SSL => 0, timeout => 60);
open my $done, ">", $out or die "$out: $!\n";
for my $number (0 .. $count - 1) {
    my $method = $methods[$number % 4];
    my $path = "/api/" . ($names{$number % 20} // "items") . "/$number";
    my $body = "";
    if ($method eq "POST" || $method eq "PUT") {
        $body = encode_json({number => $number, note => "secret-" . "x" x ($number * 37 % 3000)});
    }
    my %options = $body eq "" ? () : (
        content => $body,
        headers => {"Content-Type" => "application/json"},
    );
    my $response = $http->request($method, "$target$path?q=secret-$number", \%options);
    die "$method $path: $response->{content}\n" if $response->{status} == 599;
    print $done encode_json({
        method => $method,
        path => $path,
        status => 0 + $response->{status},
        request_size => length $body,
        request_sha256 => sha256_hex($body),
        response_size => length $response->{content},
        response_sha256 => sha256_hex($response->{content}),
        port => undef,
    }), "\n";
}
close $done or die "$out: $!\n";
