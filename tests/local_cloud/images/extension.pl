#!/usr/bin/perl
use IO::Socket::INET;
$| = 1;
print "extension starts\n";
my $id = (request("POST", "register", "Lambda-Extension-Name: extension.pl", '{"events":[]}') =~ /Lambda-Extension-Identifier: (\S+)/i)[0];
request("GET", "event/next", "Lambda-Extension-Identifier: $id", "");
sub request {
    my ($method, $path, $header, $body) = @_;
    my $api = IO::Socket::INET->new($ENV{AWS_LAMBDA_RUNTIME_API}) or die $!;
    my $length = length $body;
    print $api "$method /2020-01-01/extension/$path HTTP/1.0\r\n$header\r\nContent-Length: $length\r\n\r\n$body";
    return join "", <$api>;
}
