/// <summary>The swap that tells the two captions of an item apart.</summary>
enum Swap
{
    /// <summary>Two objects exchange their colours.</summary>
    Color,

    /// <summary>Two objects exchange their sizes.</summary>
    Size,

    /// <summary>Two kinds of object exchange their numbers: two of these and one of those.</summary>
    Count,

    /// <summary>A relation becomes its opposite: left of, right of; above, below.</summary>
    Relation,

    /// <summary>Two objects exchange their roles in a relation.</summary>
    Role,
}

/// <summary>What an object is.</summary>
readonly record struct Kind(int Color, int Shape)
{
    public override string ToString() => $"{World.Colors[Color].Name} {World.Shapes[Shape]}";
}

/// <summary>An object in a scene.</summary>
/// <param name="Kind">Colour and shape.</param>
/// <param name="Radius">Pixels.</param>
/// <param name="X">Of the centre, pixels.</param>
/// <param name="Y">Of the centre, pixels.</param>
sealed record Thing(Kind Kind, float Radius, float X = 0, float Y = 0);

/// <summary>A picture to be drawn, and what is true of it.</summary>
sealed record Scene(IReadOnlyList<Thing> Things, string Caption, int Seed);

/// <summary>Two scenes with two captions: each caption is right for its own scene and wrong for the other. The scenes have the same
/// places, sizes and background; what stands where differs, by the swap alone, and so do the captions. Which of the two comes first is
/// drawn by lot.</summary>
sealed record Item(Swap Swap, Scene First, Scene Second);

/// <summary>Draws scenes and words by lot. Pairs of colour and shape that are held out are in no training scene and in no training
/// caption; every held-out item has one in each of its scenes and captions.</summary>
sealed class World
{
    public const int Edge = 48;
    const float Small = 6, Big = 10;

    // What is left of something, or above it, is so by a third of the picture.
    const float Gap = Edge / 3;

    public static readonly (string Name, byte R, byte G, byte B)[] Colors =
    [
        ("red", 215, 35, 35), ("green", 40, 160, 50), ("blue", 40, 70, 220), ("yellow", 240, 215, 40), ("purple", 130, 40, 160), ("orange", 245, 135, 25),
    ];

    public static readonly string[] Shapes = ["circle", "square", "triangle", "cross", "ring"];

    readonly Random _random;
    readonly bool _sidesOnly;

    World(int seed, bool sidesOnly) => (_random, _sidesOnly) = (new(seed), sidesOnly);

    /// <summary>One shape of five for each colour, so that each shape is held out with one or two colours.</summary>
    public static bool IsHeldOut(Kind kind) => (kind.Color * 2 + 1) % Shapes.Length == kind.Shape;

    /// <summary>Swaps of an attribute (colour, size, number), of a relation and of roles equally often.</summary>
    public static readonly Swap[] Evenly =
        [Swap.Color, Swap.Relation, Swap.Role, Swap.Size, Swap.Relation, Swap.Role, Swap.Count, Swap.Relation, Swap.Role];

    /// <summary>Items, the same each time they are enumerated.</summary>
    /// <param name="seed">Another seed gives others.</param>
    /// <param name="count">Items.</param>
    /// <param name="heldOut">True: with a held-out pair in each scene; false: with none.</param>
    /// <param name="swaps">Their swaps, over and over.</param>
    /// <param name="sidesOnly">True: relations name the side of each object ("on the left", "on the right") and
    /// never the one by the other ("left of"); only for roles.</param>
    public static IEnumerable<Item> Items(int seed, int count, bool heldOut, IReadOnlyList<Swap> swaps, bool sidesOnly = false)
    {
        var world = new World(seed, sidesOnly);
        for (int i = 0; i < count; i++) yield return world.Next(swaps[i % swaps.Count], heldOut);
    }

    Item Next(Swap swap, bool heldOut)
    {
        while (true)
        {
            Kind a = Kind(), b = Kind(), other = Kind();
            if (a.Color == b.Color || a.Shape == b.Shape) continue;
            if (other.Color == a.Color || other.Color == b.Color || other.Shape == a.Shape || other.Shape == b.Shape) continue;
            Kind swappedA = swap == Swap.Color ? a with { Color = b.Color } : a, swappedB = swap == Swap.Color ? b with { Color = a.Color } : b;
            if (IsHeldOut(other)) continue;
            bool first = IsHeldOut(a) || IsHeldOut(b), second = IsHeldOut(swappedA) || IsHeldOut(swappedB);
            if (first != heldOut || second != heldOut) continue;
            Item item = Make(swap, a, b, swappedA, swappedB, _random.Next(2) == 0 ? other : null);
            return _random.Next(2) == 0 ? item : item with { First = item.Second, Second = item.First };
        }
    }

    Item Make(Swap swap, Kind a, Kind b, Kind swappedA, Kind swappedB, Kind? other)
    {
        switch (swap)
        {
            case Swap.Color:
                Func<Kind, Kind, string> both = Choose<Func<Kind, Kind, string>>(
                    (x, y) => $"a {x} and a {y}", (x, y) => $"there is a {x} and also a {y}", (x, y) => $"a picture of a {x} with a {y}",
                    (x, y) => $"one can see a {x} and a {y}");
                return Pair(both(a, b), both(swappedA, swappedB), [Any(a), Any(b), .. Others(other)], [swappedA, swappedB]);
            case Swap.Size:
                Func<Kind, Kind, string> sizes = Choose<Func<Kind, Kind, string>>(
                    (big, small) => $"a big {big} and a small {small}", (big, small) => $"there is a small {small} and a big {big}",
                    (big, small) => $"the {big} is bigger than the {small}", (big, small) => $"the {small} is smaller than the {big}");
                return Pair(sizes(a, b), sizes(b, a), [new(a, Big), new(b, Small), .. Others(other)], [b, a]);
            case Swap.Count:
                Func<Kind, Kind, string> counts = Choose<Func<Kind, Kind, string>>(
                    (two, one) => $"two {two}s and one {one}", (two, one) => $"one {one} and two {two}s", (two, one) => $"there is one {one} with two {two}s");
                return Pair(counts(a, b), counts(b, a), [Any(a), Any(a), Any(b)], [b, b, a]);
            default:
                bool across = _random.Next(2) == 0;
                (Func<Kind, Kind, string> relation, Func<Kind, Kind, string> opposite) =
                    across ? Relation(swap, "on the left", "on the right", "left of", "right of", "to the left of", "to the right of")
                        : Relation(swap, "at the top", "at the bottom", "above", "below", "above", "below");
                return Pair(relation(a, b), swap == Swap.Role ? relation(b, a) : opposite(b, a), [Any(a), Any(b), .. Others(other)], [b, a], across);
        }

        Item Pair(string caption, string swappedCaption, Thing[] things, Kind[] swapped, bool? across = null)
        {
            Scene scene = Place(caption, things, across);
            return new(swap, scene, scene with
            {
                Caption = Spelled(swappedCaption),
                Things = [.. scene.Things.Select((thing, i) => i < swapped.Length ? thing with { Kind = swapped[i] } : thing)],
            });
        }
    }

    // A phrase for "x is left of y" (or above it), and the one that has the opposite word in its place and says the same of "y, x". Only what is said of
    // the one by the other has an opposite.
    (Func<Kind, Kind, string> Phrase, Func<Kind, Kind, string> Opposite) Relation(
        Swap swap, string firstSide, string lastSide, string before, string after, string toBefore, string toAfter)
    {
        Func<Kind, Kind, string>[] phrases =
        [
            (x, y) => $"the {x} is {before} the {y}", (x, y) => $"the {y} is {after} the {x}",
            (x, y) => $"a {x} {toBefore} a {y}", (x, y) => $"a {y} {toAfter} a {x}",
            (x, y) => $"a {x} {firstSide} and a {y} {lastSide}", (x, y) => $"there is a {y} {lastSide} and a {x} {firstSide}",
        ];
        int i = _sidesOnly ? 4 + _random.Next(2) : _random.Next(swap == Swap.Role ? 6 : 4);
        return (phrases[i], phrases[i ^ 1]);
    }

    static string Spelled(string text) => text.Replace("crosss", "crosses", StringComparison.Ordinal).Replace("a orange", "an orange", StringComparison.Ordinal);

    // Of the first two objects the first is left of the second (across) or above it (not across), where that is wanted.
    Scene Place(string caption, Thing[] things, bool? across = null)
    {
        while (true)
        {
            Thing[] placed = [.. things.Select(t => t with { X = Coordinate(t.Radius), Y = Coordinate(t.Radius) })];
            bool apart = true;
            for (int i = 0; i < placed.Length; i++)
                for (int j = 0; j < i; j++)
                    apart &= MathF.Max(MathF.Abs(placed[i].X - placed[j].X), MathF.Abs(placed[i].Y - placed[j].Y)) > placed[i].Radius + placed[j].Radius + 1;
            float gap = across == true ? placed[1].X - placed[0].X : placed[1].Y - placed[0].Y;
            if (apart && (across is null || gap > Gap)) return new(placed, Spelled(caption), _random.Next());
        }

        float Coordinate(float radius) => radius + 1 + _random.NextSingle() * (Edge - 2 * radius - 2);
    }

    Kind Kind() => new(_random.Next(Colors.Length), _random.Next(Shapes.Length));

    Thing Any(Kind kind) => new(kind, Small + 1 + _random.NextSingle() * (Big - Small - 1.5f));

    Thing[] Others(Kind? kind) => kind is { } k ? [Any(k)] : [];

    T Choose<T>(params T[] choices) => choices[_random.Next(choices.Length)];
}
