//! The table of figures: what is measured against what.

use crate::hand::{self, Init};
use crate::master::Run;
use crate::times::Series;
use crate::world::{Cloud, World};

pub type Figure = fn(&World, usize);

pub const FIGURES: [(&str, Figure); 5] =
    [("mixed", mixed), ("three", three), ("twenty", twenty), ("init", init), ("five", five)];

/// Hosts of a provider instance where their number does not matter.
const HOSTS: usize = 4;

fn line(figure: &str, found: f64, bar: &str, beside: &str) {
    println!("{figure:<72} {found:>6.3}   {bar:<8} {beside}");
}

fn ratio(figure: &str, ours: &Series, theirs: &Series, bar: &str) {
    line(figure, ours.median() / theirs.median(), bar, &format!("{ours} / {theirs}"));
}

/// Provisions in a run, takes the time, ends the run.
fn provision(world: &World, name: &str, clouds: &[Cloud], series: &mut Series) {
    let run = Run::start(world, name, clouds);
    series.add(run.provisioning());
    run.end();
}

fn mixed(world: &World, rounds: usize) {
    let clouds = [
        Cloud::aws_in("east", HOSTS, "us-east-1"),
        Cloud::aws_in("west", HOSTS, "us-west-2"),
        Cloud::loopback("loop", HOSTS, world),
    ];
    let mut alone: [Series; 3] = Default::default();
    let mut together = Series::default();
    provision(world, "first", &clouds, &mut Series::default());
    for _ in 0..rounds {
        for (cloud, series) in clouds.iter().zip(&mut alone) {
            provision(world, &cloud.name, std::slice::from_ref(cloud), series);
        }
        provision(world, "mixed", &clouds, &mut together);
    }
    let slowest = alone.iter().max_by(|a, b| a.median().total_cmp(&b.median())).expect("three of them");
    ratio("two AWS provider instances and loopback / the slowest alone", &together, slowest, "<= 1.15");
}

fn three(world: &World, rounds: usize) {
    let clouds = [
        Cloud::aws_in("a", HOSTS, "us-east-1"),
        Cloud::aws_in("b", HOSTS, "us-west-2"),
        Cloud::aws_in("c", HOSTS, "eu-west-1"),
    ];
    let folders = world.render("three", &clouds);
    hand::ready(world, &folders);
    let (mut one, mut all) = (Series::default(), Series::default());
    let (mut bare_one, mut bare_all) = (Series::default(), Series::default());
    provision(world, "first", &clouds, &mut Series::default());
    for _ in 0..rounds {
        provision(world, "one", &clouds[..1], &mut one);
        provision(world, "three", &clouds, &mut all);
        for (folders, series) in [(&folders[..1], &mut bare_one), (&folders[..], &mut bare_all)] {
            series.add_time(hand::apply(world, folders));
            world.moto.reset();
        }
    }
    ratio("three AWS provider instances / one", &all, &one, "<= 1.35");
    ratio("  the same by Terraform alone", &bare_all, &bare_one, "");
}

fn twenty(world: &World, rounds: usize) {
    let clouds = [Cloud::aws("twenty", 20)];
    let folders = world.render("twenty", &clouds);
    hand::ready(world, &folders);
    let (mut applies, mut bare_applies) = (Series::default(), Series::default());
    let (mut nukes, mut whole, mut destroys) = (Series::default(), Series::default(), Series::default());
    for _ in 0..rounds {
        let run = Run::start(world, "twenty", &clouds);
        applies.add(run.terraform(&clouds[0]));
        let nuke = run.nuke();
        nukes.add(nuke.without_listing());
        whole.add(nuke.whole);
        bare_applies.add_time(hand::apply(world, &folders));
        destroys.add_time(hand::destroy(world, &folders));
        world.moto.reset();
    }
    ratio("20 instances: Terraform inside a run / by hand", &applies, &bare_applies, "<= 1.05");
    ratio("20 instances: nuke without its listings / destroy by hand", &nukes, &destroys, "<= 1.25");
    println!("  the nuke with its listings: {whole}");
}

fn init(world: &World, rounds: usize) {
    let clouds = [Cloud::aws("init", 1)];
    let folders = world.render("init", &clouds);
    let by_hand = |how| hand::init(world, &folders[0], how).unwrap_or_else(|said| panic!("init: {said}"));
    by_hand(Init::FirstTime);
    let (mut ours, mut locked, mut cached) = (Series::default(), Series::default(), Series::default());
    provision(world, "first", &clouds, &mut Series::default());
    for _ in 0..rounds {
        let run = Run::start(world, "init", &clouds);
        ours.add(run.init(&clouds[0]));
        run.end();
        locked.add_time(by_hand(Init::Locked));
        cached.add_time(by_hand(Init::Cached));
    }
    let cheapest = if locked.median() < cached.median() { &locked } else { &cached };
    ratio("a second run's init / the cheapest by hand", &ours, cheapest, "<= 1.1");
    println!("  by hand with a lock file: {locked}; with a plugin cache as well: {cached}");
}

fn five(world: &World, rounds: usize) {
    let clouds = ["a", "b", "c", "d", "e"].map(|name| Cloud::aws(name, HOSTS));
    let folders = world.render("five", &clouds);
    hand::ready(world, &folders);
    let (mut nukes, mut whole, mut destroys) = (Series::default(), Series::default(), Series::default());
    for _ in 0..rounds {
        let nuke = Run::start(world, "five", &clouds).nuke();
        nukes.add(nuke.without_listing());
        whole.add(nuke.whole);
        hand::apply(world, &folders);
        destroys.add_time(hand::destroy(world, &folders));
        world.moto.reset();
    }
    ratio("five provider instances: nuke without its listings / destroys", &nukes, &destroys, "<= 1.15");
    println!("  the nuke with its listings: {whole}");
}
