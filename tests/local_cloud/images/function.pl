# A function of Lambda's runtime API: answers {"env": 1}, {"read": path}, {"write": path}, {"sleep": s}.
use strict;
use warnings;
use IO::Socket::INET;

$| = 1;
print "function starts\n";
while (1) {
    my ($head, $event) = request("GET", "invocation/next", "");
    my ($id) = $head =~ /Lambda-Runtime-Aws-Request-Id: (\S+)/i;
    my ($verb, $argument) = $event =~ /"(\w+)"\s*:\s*"?([^"}]*)/;
    print "$verb $argument\n";
    my $answer = answer($verb, $argument);
    $answer =~ s/([\\"])/\\$1/g;
    $answer =~ s/\n/\\n/g;
    request("POST", "invocation/$id/response", "\"$answer\"");
}

sub answer {
    my ($verb, $argument) = @_;
    if ($verb eq "env") { return join "", map { "$_=$ENV{$_}\n" } sort keys %ENV }
    if ($verb eq "read") { open(my $file, "<", $argument) or return "$!"; return join "", <$file> }
    if ($verb eq "write") { open(my $file, ">", $argument) or return "$!"; return "written" }
    if ($verb eq "sleep") { sleep $argument }
    if ($verb eq "args") { return "@ARGV" }
    return "done";
}

sub request {
    my ($method, $path, $body) = @_;
    my $api = IO::Socket::INET->new($ENV{AWS_LAMBDA_RUNTIME_API}) or die $!;
    my $length = length $body;
    print $api "$method /2018-06-01/runtime/$path HTTP/1.0\r\nContent-Length: $length\r\n\r\n$body";
    my $answer = join "", <$api>;
    return split /\r\n\r\n/, $answer, 2;
}
