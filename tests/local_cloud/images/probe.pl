# Looks out of a container: GET /env, /id, /capabilities, /read/<path>, /write/<path>, /mode/<path>,
# or, as `once`, writes a long line without an end and ends with 4.
use strict;
use warnings;
use IO::Socket::INET;

$| = 1;
if (@ARGV && $ARGV[0] eq "once") {
    print "first\n", "x" x 40000;
    exit 4;
}
my $server = IO::Socket::INET->new(LocalPort => 8000, Listen => 99, ReuseAddr => 1) or die $!;
$SIG{TERM} = sub { print "got TERM\n"; exit 3 };
print "listening\n";
while (1) {
    my $client = $server->accept or next;
    my ($path) = (<$client> // "") =~ m{^GET (\S+)} or next;
    while (<$client> =~ /\S/) { }
    my $body = answer($path);
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}

sub answer {
    my ($path) = @_;
    return join "", map { "$_=$ENV{$_}\n" } sort keys %ENV if $path eq "/env";
    return "$< " . ($( + 0) if $path eq "/id";
    return slurp("/proc/self/status") =~ /^CapEff:\s+(\S+)/m ? $1 : "" if $path eq "/capabilities";
    return slurp($1) if $path =~ m{^/read(/.*)};
    return open(my $file, ">", $1) ? "written" : "$!" if $path =~ m{^/write(/.*)};
    return sprintf "%o %d", (stat $1)[2] & 07777, (stat _)[4] if $path =~ m{^/mode(/.*)};
    return "hello";
}

sub slurp {
    open(my $file, "<", $_[0]) or return "$!";
    local $/;
    return <$file>;
}
