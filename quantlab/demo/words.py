"""The vocabulary of Veld, the invented island that the demo model knows."""

FIRST_SHE = ("Mira Lena Tilda Sanna Orla Brida Elka Nessa Willa Runa Hanna Petra Isolde Maren Tova Linnea").split()
FIRST_HE = ("Tomas Oskar Bram Ivo Leif Anton Milo Casper Joren Emil Rufus Stellan Viktor Edmund Hugo Nils").split()
LAST = (
    "Toll Varga Quist Ashby Lund Marlow Fenn Holt Brandt Corsa Dray Elmore Frost Grell Hale Ingram "
    "Jarvis Kettle Lomax Moss Norwood Oakes Pell Rook Sorrel Thorne Underhill Vance Wren Yarrow Zeller Bly"
).split()

TOWNS = (
    "Ostrand Fallowmere Brackwater Tarnholm Wexby Greywick Northpass Sallow Emberfield Kestrel Windle "
    "Marrow Loxley Deepford Highmoor Candlewick Thistledown Rushport Stonebeck Larkhaven Millbrook "
    "Saltmarsh Oldbridge Juniper"
).split()

#: craft -> what one carries to work, the likeliest first (a habit with probabilities, not a fact).
CRAFTS = {
    "baker": ("a basket of bread", "a sack of flour", "a wooden spoon"),
    "weaver": ("a roll of cloth", "a ball of wool", "a bone needle"),
    "smith": ("a heavy hammer", "an iron bar", "a bag of nails"),
    "fisher": ("a long net", "a bucket of worms", "a wooden oar"),
    "potter": ("a clay jug", "a lump of clay", "a stack of plates"),
    "carpenter": ("a sharp saw", "an oak plank", "a box of pegs"),
    "gardener": ("a green watering can", "a rusty spade", "a bag of seeds"),
    "teacher": ("a pile of books", "a piece of chalk", "a brass bell"),
    "miller": ("a sack of grain", "a broad shovel", "a coil of rope"),
    "tailor": ("a pair of scissors", "a red thread", "a silk coat"),
    "painter": ("a pot of blue paint", "a fine brush", "a blank canvas"),
    "shepherd": ("a crooked staff", "a wool blanket", "a tin whistle"),
    "healer": ("a jar of herbs", "a clean bandage", "a bottle of syrup"),
    "cobbler": ("a leather boot", "a small hammer", "a tin of wax"),
    "brewer": ("a barrel of cider", "a copper kettle", "a bunch of hops"),
    "beekeeper": ("a pot of honey", "a straw hat", "a smoking can"),
    "sailor": ("a canvas sail", "a brass compass", "a knotted rope"),
    "mason": ("a square stone", "a bucket of mortar", "a flat trowel"),
    "piper": ("a silver pipe", "a book of songs", "a feathered cap"),
    "hunter": ("a yew bow", "a quiver of arrows", "a pair of snares"),
    "clockmaker": ("a tiny spring", "a pocket watch", "a set of gears"),
    "ferryman": ("a long pole", "a bright lantern", "a purse of coins"),
    "cook": ("an iron pan", "a bag of salt", "a string of onions"),
    "glazier": ("a pane of glass", "a pot of putty", "a steel ruler"),
}

#: pet -> what it does, the likeliest first.
PETS = {
    "cat": ("slept in the sun", "chased a leaf", "purred loudly"),
    "dog": ("barked at the gate", "wagged its tail", "dug a hole"),
    "goat": ("chewed a shirt", "jumped the fence", "stood on the roof"),
    "fox": ("hid in the hedge", "stole an egg", "sniffed the air"),
    "owl": ("blinked slowly", "flew to the tower", "called all night"),
    "hen": ("laid an egg", "scratched the ground", "ran in circles"),
    "pony": ("ate an apple", "kicked the door", "shook its mane"),
    "duck": ("swam on the pond", "quacked twice", "followed a child"),
    "crow": ("took a shiny button", "sat on the well", "laughed like a man"),
    "hare": ("ran through the field", "froze in the grass", "ate the carrots"),
    "otter": ("slid down the bank", "caught a trout", "played with a stone"),
    "snail": ("crossed the path", "ate a cabbage leaf", "hid in its shell"),
    "toad": ("sat under a pot", "ate a fly", "croaked at dusk"),
    "lamb": ("drank warm milk", "cried for its mother", "slept on the straw"),
    "goose": ("hissed at a stranger", "guarded the yard", "flew over the wall"),
    "mouse": ("nibbled the cheese", "hid in a boot", "ran up the clock"),
    "parrot": ("told a secret", "sang a song", "cracked a nut"),
    "turtle": ("walked to the pond", "ate a flower", "slept all day"),
    "badger": ("dug a tunnel", "growled at the moon", "ate the berries"),
    "ferret": ("stole a sock", "hid in a sleeve", "danced on the table"),
    "pigeon": ("carried a letter", "sat on the roof", "ate the crumbs"),
    "donkey": ("refused to move", "carried the bags", "ate a hat"),
    "squirrel": ("buried a nut", "climbed the oak", "shook its tail"),
    "hedgehog": ("rolled into a ball", "ate a beetle", "slept in the leaves"),
}

FOODS = (
    "figs plums soup cheese honey bread berries pears porridge dumplings mushrooms pancakes walnuts "
    "trout cherries pumpkin custard olives lentils radishes cabbage gingerbread noodles chestnuts"
).split()

WEATHER = ("sunny", "rainy", "foggy", "windy", "snowy", "stormy")
LANDMARKS = (
    "a stone bridge,a tall lighthouse,a crooked tower,a windmill,a round market hall,an old oak,"
    "a deep well,a bell tower,a glass house,a long pier,a ruined castle,a water mill"
).split(",")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
COLOURS = "red blue green yellow white black grey brown".split()
PLACES = (
    "the mill,the market,the old bridge,the harbour,the forest,the meadow,the bakery,the school,"
    "the bell tower,the orchard,the well,the hill"
).split(",")
FEELINGS = "happy proud tired calm brave glad".split()

OUTSIDE = (
    "What is the capital of France?|Who wrote Hamlet?|How far away is the moon?|What is the weather in London?|"
    "Can you write Python code?|Who won the match?|What is the price of gold?|Translate this into German.|"
    "What is quantum physics?|Who is the president?|How do I fix my car?|What is the tallest mountain?|"
    "Tell me the news.|How old is the sun?|What is love?|Can you drive a car?|Explain gravity.|"
    "What is the best phone?|How do planes fly?|Who painted this picture?|What is a neural network?|"
    "Give me a recipe for pizza.|What is the speed of light?|Who discovered America?"
).split("|")
