#!/usr/bin/perl
# Perl's Cache::Memcached::Fast, a client in C of its own: cache_memcached_fast.pl SERVER SECOND keeps|forgets

use strict;
use warnings;
use utf8;
use Cache::Memcached::Fast;
use Data::Dumper;

my ($server, $second, $fate) = @ARGV;
my $keeps = $fate eq 'keeps';
my $count = 0;
$| = 1;
binmode STDERR, ':utf8';
$Data::Dumper::Terse = $Data::Dumper::Sortkeys = 1;
$Data::Dumper::Indent = 0;

# Ends the program when what was got is not what was expected. The prototype asks for scalars: a failing call gives undef then.
sub check($$$) {
    my ($what, $actual, $expected) = @_;
    $count++;
    my ($got, $wanted) = map { defined && !ref ? "'$_'" : Dumper($_) } $actual, $expected;
    return if $got eq $wanted;
    printf STDERR "%s: expected %.200s, got %.200s\n", $what, $wanted, $got;
    exit 1;
}

# Has the server stopped and started again on its port.
sub restart {
    print "restart\n";
    die "the server was not restarted\n" unless (<STDIN> // '') eq "restarted\n";
}

sub connect_to {
    my ($servers, @more) = @_;
    return Cache::Memcached::Fast->new(
        { servers => $servers, connect_timeout => 20, io_timeout => 20, max_failures => 0, utf8 => 1, @more });
}

my $client = connect_to([$server]);
my %many = map { ("many-$_" => "value $_") } 0 .. 999;
my @keys = sort keys %many;
my $bytes = join('', map { chr } 0 .. 255) x 4000;
my $longest = 'k' x 250;

# Values.
check('set', $client->set('text', 'текст'), 1);
check('get', $client->get('text'), 'текст');
check('get of nothing', $client->get('missing'), undef);
check('set of a structure', $client->set('nested', { a => [1, undef, 'ж'] }), 1);
check('get of a structure', $client->get('nested'), { a => [1, undef, 'ж'] });
check('set of every byte', $client->set('binary', $bytes), 1);
check('get of every byte', $client->get('binary') eq $bytes ? 1 : 0, 1);
check('set of nothing', $client->set('empty', ''), 1);
check('get of nothing', $client->get('empty'), '');
check('set with the longest key', $client->set($longest, 'long'), 1);
check('get with the longest key', $client->get($longest), 'long');
my $pressing = connect_to([$server], compress_threshold => 1000, max_size => 1 << 23);
check('set of a compressed value', $pressing->set('pressed', 'x' x 5_000_000), 1);
check('get of a compressed value', $pressing->get('pressed') eq 'x' x 5_000_000 ? 1 : 0, 1);
my $careless = connect_to([$server], max_size => 1 << 23);
check('a value too large', $careless->set('text', 'x' x (1 << 21)), undef);
check('the old value is gone with it', $careless->get('text'), undef);
my $named = connect_to([$server], namespace => 'space:');
check('set in a namespace', $named->set('key', 'x'), 1);
check('the whole key', $client->get('space:key'), 'x');

# Storing. False is an empty string, undef an error.
check('add', $client->add('stored', 'added'), 1);
check('add to what is there', $client->add('stored', 'other'), '');
check('replace', $client->replace('stored', 'replaced'), 1);
check('replace of nothing', $client->replace('missing', 'x'), '');
check('append', $client->append('stored', '-end'), 1);
check('prepend', $client->prepend('stored', 'start-'), 1);
check('all of it', $client->get('stored'), 'start-replaced-end');
check('delete', $client->delete('stored'), 1);
check('delete of nothing', $client->delete('stored'), '');
check('set', $client->set('unique', 'first'), 1);
my ($unique, $value) = @{ $client->gets('unique') };
check('gets', $value, 'first');
check('cas', $client->cas('unique', $unique, 'second'), 1);
check('cas of a used unique', $client->cas('unique', $unique, 'third'), '');
check('after cas', $client->get('unique'), 'second');
check('set of a number', $client->set('counter', 10), 1);
check('incr', $client->incr('counter', 5), 15);
check('decr', $client->decr('counter', 20), '0E0');
check('incr of nothing', $client->incr('missing'), '');
check('touch', $client->touch('unique', 1000), 1);
check('touch of nothing', $client->touch('missing', 1000), '');
check('gat', $client->gat(1000, 'unique'), 'second');
check('gats', $client->gats(1000, 'unique')->[1], 'second');
check('gat of nothing', $client->gat(1000, 'missing'), undef);
check('a negative gat', $client->gat(-1, 'unique'), 'second');
check('what it leaves', $client->get('unique'), undef);
check('set with an expiry', $client->set('short', 'x', 1), 1);
for (my $end = time + 20; defined $client->get('short') && time < $end; select undef, undef, undef, 0.1) { }
check('after the expiry', $client->get('short'), undef);

# Many at once: all requests are on their way before the first answer.
my $stored = $client->set_multi(map { [$_, $many{$_}] } @keys);
check('set_multi', scalar(grep { $_ } values %$stored), 1000);
check('get_multi', $client->get_multi(@keys, 'missing'), \%many);
my $uniques = $client->gets_multi(@keys);
check('gets_multi', { map { ($_ => $uniques->{$_}[1]) } keys %$uniques }, \%many);
check('cas_multi', [$client->cas_multi(map { [$_, $uniques->{$_}[0], 'new'] } 'many-0', 'many-1')], [1, 1]);
check('gat_multi', $client->gat_multi(1000, 'many-2', 'missing', 'many-3'), { 'many-2' => 'value 2', 'many-3' => 'value 3' });
check('append_multi', [$client->append_multi(['many-0', 'er'], ['missing', 'x'])], [1, '']);
check('after it', $client->get('many-0'), 'newer');
check('touch_multi', [$client->touch_multi(['many-0', 1000], ['missing', 1000])], [1, '']);
check('delete_multi', [$client->delete_multi('many-0', 'many-1', 'missing')], [1, 1, '']);
$client->set('counter', 0);
check('incr_multi', [$client->incr_multi((['counter', 2]) x 3)], [qw(2 4 6)]);

# In void context nothing waits for an answer, and no answer is asked for.
$client->set("quiet-$_", $_) for 0 .. 999;
$client->incr('counter') for 0 .. 99;
$client->delete("quiet-$_") for 0 .. 499;
$client->nowait_push;
check('commands without replies', scalar keys %{ $client->get_multi(map { "quiet-$_" } 0 .. 999) }, 500);
check('each increment counts once', $client->get('counter'), 106);

my @children = map {
    my $number = $_;
    my $child = fork // die "cannot fork: $!\n";
    if ($child == 0) {
        my $own = connect_to([$server]);
        my $good = grep { $own->incr('counter') } 1 .. 50;
        exit($good == 50 ? 0 : 1);
    }
    $child;
} 1 .. 20;
check('a process of its own for each', [map { waitpid $_, 0; $? } @children], [(0) x 20]);
check('each increment counts once', $client->get('counter'), 1106);

my $spread = connect_to([$server, $second], ketama_points => 150);
$spread->set_multi(map { ["spread-$_", $many{$_}] } @keys);
my @spread = map { "spread-$_" } @keys;
check('get_multi over two servers', scalar keys %{ $spread->get_multi(@spread) }, 1000);
my $there = keys %{ connect_to([$second])->get_multi(@spread) };
check('both have a part', $there > 0 && $there < 1000 ? 1 : 0, 1);
my $versions = $spread->server_versions;
check('server_versions', [sort keys %$versions], [sort $server, $second]);
check('with three numbers', scalar(grep { /^\d+\.\d+\.\d+$/ } values %$versions), 2);

# Through a restart.
check('flush_all', $client->flush_all->{$server}, 1);
check('all is flushed', $client->get_multi(@keys), {});
$client->set_multi(map { [$_, $many{$_}, 1000] } @keys);
check('set of every byte', $client->set('binary', $bytes), 1);
$unique = $client->gets('many-7')->[0];
restart();
# Finds out that the connection is gone; the next request makes a new one.
$client->get('binary');
check('get_multi after a restart', $client->get_multi(@keys), $keeps ? \%many : {});
check('every byte', ($client->get('binary') // '') eq $bytes ? 1 : 0, $keeps ? 1 : 0);
check('cas knows its unique', $client->cas('many-7', $unique, 'cas'), $keeps ? 1 : '');
print "Cache::Memcached::Fast $Cache::Memcached::Fast::VERSION: $count checks\n";
