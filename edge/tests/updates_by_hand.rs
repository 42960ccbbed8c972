//! Updates without a hub: by the settings, and by a folder for bundles.

use std::fs;

use hedef_protocols::bundle::{SecretKey, Sha256};

use crate::bundles::{Does, Recipe};
use crate::depot::Depot;
use crate::device::Home;
use crate::updates::ask;
use crate::wait::until;

#[test]
fn a_version_in_the_settings_is_fetched() {
    let (key, depot) = (SecretKey::generate().unwrap(), Depot::start());
    let bundle = Recipe::new(4, Does::Neg).make(&key);
    let (url, hash, size) = (depot.put("m.bundle", &bundle), Sha256::of(&bundle), bundle.len());
    let home = Home::new(&format!(
        "[updates]\ntrusted_keys = ['{}']\nrate_bytes_per_s = 1000000\n[[updates.models]]\nname = 'm'\nversion = 4\nurl = '{url}'\n\
         sha256 = '{hash}'\nsize = {size}\n",
        key.public()
    ));
    let device = home.start();
    assert_eq!(until("it is served", || ask(&device, 2.0)), (4, -2.0));
}

#[test]
fn bundles_in_the_folder_are_taken_and_bad_ones_put_aside() {
    let key = SecretKey::generate().unwrap();
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), format!("# ours\n{}\n", key.public())).unwrap();
    let home = Home::new(&format!("[updates]\ntrusted_keys_file = '{}'\ntrial_runs = 1\n", keys.path().display()));
    let inbox = home.path().join("data/inbox");
    fs::create_dir_all(&inbox).unwrap();
    let device = home.start();
    fs::write(inbox.join("good.bundle"), Recipe::new(1, Does::Identity).make(&key)).unwrap();
    assert_eq!(until("it is served", || ask(&device, 2.0)), (1, 2.0));
    until("it is taken away", || (!inbox.join("good.bundle").exists()).then_some(()));
    fs::write(inbox.join("bad.bundle"), Recipe::new(2, Does::Neg).make(&SecretKey::generate().unwrap())).unwrap();
    until("it is put aside", || inbox.join("bad.refused").exists().then_some(()));
    let wrong = Recipe { knows: Does::Identity, ..Recipe::new(2, Does::Neg) };
    fs::write(inbox.join("wrong.bundle"), wrong.make(&key)).unwrap();
    until("it is put aside too", || inbox.join("wrong.refused").exists().then_some(()));
    assert_eq!(ask(&device, 2.0), Some((1, 2.0)));
    let (status, log) = device.stop();
    assert!(status.success(), "{status}: {log}");
}
