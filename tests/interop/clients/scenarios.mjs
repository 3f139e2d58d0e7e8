// Runs the scenarios of a client program, one after the other, each with a connection of its own;
// ends the program at the first that fails, or takes longer than 30 s.
export async function run(client, scenarios, connect) {
  for (const [name, scenario] of Object.entries(scenarios)) {
    const nc = await connect();
    const late = new Promise((_, no) => setTimeout(no, 30_000, new Error("30 s passed")).unref());
    try {
      await Promise.race([scenario(nc), late]);
    } catch (e) {
      console.log(`FAILED ${client} ${name}: ${e.stack}`);
      process.exit(1);
    }
    console.log(`ok ${client} ${name}`);
    await nc.close();
  }
}
