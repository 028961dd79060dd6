#!/usr/bin/perl
# Tinkerbell's action "waitdaemon", rebuilt from its documentation (README of
# jacobweinstock/waitdaemon) for Docker.
#
# Environment: IMAGE, WAIT_SECONDS (default 10); PHASE is its own.
# 1. The action's container: gets IMAGE if it is not there, asks the engine for the container named
#    by this container's hostname, starts the same image again with the same command, environment,
#    volumes, PID namespace and privileges, detached, and ends with success.
# 2. The second container (PHASE=SECOND_FORK): waits, asks for its own container likewise, and
#    starts IMAGE with its settings.
# As there, neither labels, network nor hostname are copied. It differs in that JSON values are
# copied as text.
use strict;
use warnings;
use Socket;

my $value = qr{(?<value>"(?:[^"\\]|\\.)*+"|\[(?:[\s,]|(?&value))*+\]|\{(?:[\s,:]|(?&value))*+\}|[-\w.+]++)};

sub request {
    my ($method, $path, $body) = @_;
    socket(my $engine, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
    connect($engine, pack_sockaddr_un('/var/run/docker.sock')) or die "cannot reach the engine at /var/run/docker.sock: $!\n";
    my @head = ("$method $path HTTP/1.0", 'Host: docker', 'Content-Type: application/json');
    push @head, 'Content-Length: ' . length($body // '');
    syswrite $engine, join("\r\n", @head, '', $body // '');
    my $answer = do { local $/; <$engine> };
    my ($status) = $answer =~ m{^HTTP/\S+ (\d+)};
    my (undef, $content) = split /\r\n\r\n/, $answer, 2;
    return ($status, $content);
}

sub expect {
    my ($expected, @request) = @_;
    my ($status, $content) = request(@request);
    die "$request[0] $request[1]: $status $content\n" unless $status =~ /^$expected$/;
    return $content;
}

# The JSON text of a member of a JSON object.
sub member {
    my ($object, $name) = @_;
    my $inside = substr($object, 1);
    while ($inside =~ /\G[\s,]*"(?<name>(?:[^"\\]|\\.)*)"\s*:\s*$value/gc) {
        return $+{value} if $+{name} eq $name;
    }
    return 'null';
}

sub unquoted { return $_[0] =~ s/^"|"$//gr }

sub own_container {
    open my $file, '<', '/proc/sys/kernel/hostname' or die "hostname: $!\n";
    chomp(my $hostname = <$file>);
    return expect('200', 'GET', "/containers/$hostname/json");
}

sub start {
    my ($own, $image, $environment) = @_;
    my ($config, $host) = (member($own, 'Config'), member($own, 'HostConfig'));
    my @config = map { "\"$_\":" . member($config, $_) } qw(Cmd Tty AttachStdout AttachStderr);
    my @host = map { "\"$_\":" . member($host, $_) } qw(Privileged Binds PidMode);
    my $settings = join ',', "\"Image\":$image", "\"Env\":$environment", @config, '"HostConfig":{' . join(',', @host) . '}';
    my $id = unquoted(member(expect('201', 'POST', '/containers/create', "{$settings}"), 'Id'));
    expect('204', 'POST', "/containers/$id/start");
    print "started the container $id of $image\n";
}

my $image = $ENV{IMAGE} or die "IMAGE is not set\n";
if (($ENV{PHASE} // '') eq 'SECOND_FORK') {
    sleep($ENV{WAIT_SECONDS} // 10);
    my $own = own_container();
    my $environment = member(member($own, 'Config'), 'Env');
    $environment =~ s/"PATH=(?:[^"\\]|\\.)*",?//;
    $environment =~ s/,\]$/]/;
    start($own, "\"$image\"", $environment);
} else {
    my ($status) = request('GET', "/images/$image/json");
    my ($name, $tag) = $image =~ m{^(.*?)(?::([^:/]+))?$};
    expect('200', 'POST', "/images/create?fromImage=$name&tag=" . ($tag // 'latest')) if $status != 200;
    my $own = own_container();
    my $config = member($own, 'Config');
    my $environment = member($config, 'Env');
    $environment = $environment eq 'null' || $environment =~ /^\[\s*\]$/ ? '["PHASE=SECOND_FORK"]' : $environment =~ s/\]$/,"PHASE=SECOND_FORK"]/r;
    start($own, member($config, 'Image'), $environment);
}
