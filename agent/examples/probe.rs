//! scratch
fn main() {
    let o = agent::attach::Options{head_bytes:4096,processes: std::env::args().nth(1).map(|_| vec![1]),ports:vec![],runtimes:vec![],bpf_log:false};
    let mut a = agent::attach::attach(&o).unwrap();
      let mut r = a.ring().unwrap(); let mut n=0u64; let mut last=0;
      eprintln!("ready");
      loop { std::thread::sleep(std::time::Duration::from_millis(5)); while let Some(_i)=r.next(){ n+=1; } if n-last>1000000 {eprintln!("{n}"); last=n;} } 
}
