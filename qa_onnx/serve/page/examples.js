const EXAMPLES = [
  {
    name: "A night market 🏮",
    questions: [
      "What does Mrs Tanaka sell?",
      "Since when has the family had the stone mill?",
      "What do visitors get for their rubbish?",
    ],
    text: `Night market at Kiyomizu 🏮

Every Friday from May to September the street below the temple (清水寺) becomes a night market. Forty-two stalls open at six in the evening 🌙 and close at eleven; on 16 August, when the fires are lit on the hills, they stay open until one.

The longest queue is always that of Mrs Tanaka (田中), who sells octopus dumplings 🐙, eight for 600 yen. She learned the recipe from her grandmother in Osaka, and she will not say what is in the sauce. Next to her, Mr Ishikawa grinds green tea 🍵 on a stone mill that his family has had since 1874. At the lower end a student called Mei Lin plays the erhu (二胡); the coins in her case pay for her train ride home to Nara.

There are no bins 🗑️ on the street. Visitors take their rubbish back to the stall where they bought the food, and in return they get a paper crane (折り鶴). Last year 31,000 cranes were given away.
`,
  },
  {
    name: "A server outage",
    questions: ["What was the cause?", "Who noticed the expiry date?", "How many customers saw an error page?"],
    text: `Report on the outage of 9 October

At 02:14 UTC the checkout service began to answer with errors. The on-call engineer, Priya Raman, was paged two minutes later. For 47 minutes about one order in three could not be paid; 1,860 customers saw an error page, and no payment was taken twice.

The cause was a certificate. The one that the payment gateway presents to the message queue had been renewed in September, but the renewal job wrote it to a folder that the gateway does not read, so the old certificate went on being used until it expired. Nothing warned us: the monitor looked at the file in the new folder, which was valid.

Priya first restarted the gateway, which did not help. At 02:51 Jonas Weber noticed the expiry date in the queue's log, and at 03:01 a copied certificate and a second restart brought all orders back.

We have changed three things. The renewal job now asks the gateway which certificate it uses. The monitor connects to the queue as a client does, instead of reading a file. And the dashboard shows the days that are left, with an alarm at 21 days.
`,
  },
  {
    name: "A rental agreement",
    questions: ["How much is the deposit?", "Where is smoking allowed?", "Who is the landlord?"],
    text: `Agreement for the flat at 7 Tanner's Row

1. The landlord, Orla Fennimore, lets the flat on the second floor to the tenants, Dev Patel and Clara Carvalho, for twelve months from 1 March.

2. The rent is 940 euros a month, due on the fifth day of the month. When it is more than ten days late, the landlord may add a charge of 25 euros. Water is included in the rent; electricity and heating are not.

3. The tenants pay a deposit of 1,880 euros. The landlord returns it within thirty days after the end of the agreement, less the cost of damage beyond ordinary wear.

4. One cat is allowed. Dogs are not, except to visit. Smoking is allowed on the balcony only.

5. The landlord may enter the flat to repair or inspect it, with 48 hours' notice in writing. In an emergency, such as a burst pipe, no notice is needed.

6. Either side may end the agreement early with two months' notice. If the tenants leave sooner, they pay the rent until a new tenant moves in, but for no longer than eight weeks.
`,
  },
];
